"""How much the components of a model answer changes of their inputs: their plasticity."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from tunescope.errors import StudyError
from tunescope.probes.probe import Measurement, Probe, Subject
from tunescope.results.metric import Derived, Metric
from tunescope.results.row import Row

if TYPE_CHECKING:
    import numpy as np

AT_MOST = 128  # pairs, where a study does not say

_DERIVED: tuple[Derived, ...] = ("base", "base_only", "change", "change_relative")
_ODONNAT = "Odonnat et al. 2026, arXiv 2602.06883"
_RATE = "mean ‖f(x) − f(y)‖_F / ‖x − y‖_F over pairs of inputs"


class PlasticityProbe(Probe):
    """The plasticity of every component and every head: its average rate of change between two inputs.

        P(f) = E ‖f(x) − f(y)‖_F / ‖x − y‖_F, over pairs x ≠ y of token sequences

    A high one means a component far from smooth: P(f) is at most its Lipschitz constant. It is the quantity
    of Odonnat et al. 2026 ("Vision Transformer Finetuning Benefits from Non-Smooth Components") and another
    thing than how far tuning moved a component, or than `heads.gate_fisher`.

    After the authors' published code: pairs are drawn apart; the ratio of Frobenius norms over all tokens is
    taken of each pair and then averaged; and every component of every block is given the same x, the sequence
    that enters the first block, fc2 with zeros behind it up to its width (`inputs: embeddings`). They pair an
    image of the pretraining data with one of the task's: here `against` names the split with the other input,
    and without it both come from one split. What is ours: `inputs: own`, which gives a component what it
    is given in the model; single heads; norms behind the residual sum (BERT); and of texts, distances over
    the positions at which both have a token (the authors' keep their padding). Checked against the authors'
    code (github.com/ambroiseodt/vit-plasticity), not against the wording of the paper.

    `plasticity.rate` is of whole components, named by role: `norm1`, `attention` (with its output projection,
    without its norm), `norm2`, `mlp.fc1`, `mlp.fc2`, and `mlp.gate` where there is one. `heads.plasticity` is
    of a head's part: `q`, `k`, `v`, of what enters attention to its rows of the projection (before rotation);
    `attention`, to its output; `o`, from its output to its part of the output projection's. An attention
    pooling head is not measured. A text tower of a task on images reads the prompts of the class names.

    Array: `plasticity.pairs` [p, 2], indices of the examples in the split, or in `split` and `against`.

    Args:
        split: which examples.
        against: the split of the second input of each pair; None = `split` too.
        pairs: how many, of examples spread evenly over the split and paired by a fixed shuffle, each example
            in one pair; None = 128, or as many as there are.
        inputs: what components are given.
    """

    kind: str = "plasticity"
    split: str = "probe"
    against: str | None = None
    pairs: Annotated[int, Field(ge=1)] | None = None
    inputs: Literal["embeddings", "own"] = "embeddings"

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "plasticity.rate",
            ("tower", "layer", "component"),
            "1",
            (0.0, None),
            None,
            f"{_RATE} of a component f",
            _ODONNAT,
            _DERIVED,
        ),
        Metric(
            "heads.plasticity",
            ("tower", "layer", "head", "component"),
            "1",
            (0.0, None),
            None,
            f"{_RATE}, f a head's part of a component",
            f"{_ODONNAT}; by head: tunescope",
            _DERIVED,
        ),
    )
    source: ClassVar[str] = _ODONNAT

    def measure(self, subject: Subject) -> Measurement:
        """Rows per layer and component, and per head; std and n are over pairs whose inputs differ.

        Raises:
            StudyError: a split is not there, or has too few examples, or holds one input alone.
            MethodError: the model has no such tower, or it reads something else.
        """
        from tunescope.probes.rates import rates

        first, second, pairs = self._pairs(subject)
        whole, heads = rates(
            subject.encoder,
            subject.tower,
            first,
            second,
            own=self.inputs == "own",
            batch_size=subject.batch_size,
        )
        at: dict[str, Any] = {"tower": subject.tower, "split": self.split}
        rows = [
            row
            for (layer, component), found in whole.items()
            for row in _mean("plasticity.rate", found, at | {"layer": layer, "component": component})
        ]
        for (layer, component), found in heads.items():
            for head, one in enumerate(found.T):
                place = at | {"layer": layer, "head": head, "component": component}
                rows += _mean("heads.plasticity", one, place)
        if not rows:
            raise StudyError(
                f"plasticity probe: the inputs of every pair of split {self.split!r} are the same; expected "
                "examples that differ"
            )
        return Measurement(rows, {"plasticity.pairs": pairs})

    def _pairs(self, subject: Subject) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
        """The two inputs of each pair, and where they stand."""
        import numpy as np

        from tunescope.data.sample import spread
        from tunescope.probes.sample import read_by

        names = [self.split] if self.against is None else [self.split, self.against]
        inputs = [read_by(subject.tower, self.examples(subject, name)) for name in names]
        available = len(inputs[0]) // 2 if self.against is None else min(map(len, inputs))
        count = min(AT_MOST, available) if self.pairs is None else self.pairs
        if not 1 <= count <= available:
            raise StudyError(
                f"plasticity probe: {max(1, count)} pairs, but {' and '.join(map(repr, names))} hold "
                f"{available}, each example in one; expected at most as many"
            )
        if len({each.shape[1:] for each in inputs}) > 1:
            raise StudyError(f"plasticity probe: {names[0]!r} and {names[1]!r} are not both of single texts")
        shuffled = np.random.default_rng(0)
        if self.against is None:
            chosen = shuffled.permutation(spread(2 * count, len(inputs[0]))).reshape(count, 2)
        else:
            ends = (shuffled.permutation(spread(count, len(each))) for each in inputs)
            chosen = np.stack(list(ends), 1)
        return inputs[0][chosen[:, 0]], inputs[-1][chosen[:, 1]], chosen


def _mean(metric: str, rates: "np.ndarray", place: dict[str, Any]) -> list[Row]:
    """The row of one component; none where no pair differed on its way in."""
    import numpy as np

    known = rates[~np.isnan(rates)]
    if not len(known):
        return []
    std = float(known.std(ddof=1)) if len(known) > 1 else None
    return [Row(metric, float(known.mean()), std=std, n=len(known), **place)]
