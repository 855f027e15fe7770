"""Layer by layer between base and tuned model: which layers cannot be set back."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from tunescope.probes.probe import Measurement, Probe, Subject
from tunescope.results.metric import Better, Metric
from tunescope.results.row import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from torch import nn

    from tunescope.landscape.layers import Layer

_DIMS = ("tower", "layer", "component", "split")
_ADILOVA = "Adilova et al. 2024, arXiv 2307.06966"
_CHATTERJI = "Chatterji et al. 2019, arXiv 1912.00528"
_STRAGGLER = "arXiv 2410.16476; the rule is tunescope's"


def _metric(
    name: str,
    unit: str,
    range: tuple[float | None, float | None],
    better: Better,
    definition: str,
    source: str,
) -> Metric:
    return Metric(f"landscape.{name}", _DIMS, unit, range, better, definition, source, ())


class LayerPathProbe(Probe):
    """Barriers of single layers: one block walks from θ₀ to θ₁ while all the rest stays as tuned.

    Blocks of the tower that the task tunes, embeddings and final norms left out. Heads stay as tuned, so that
    every row tells of one block's weights alone; components are the transfer probe's (`text` is the head of
    prompts that the tuned model makes). A straggler is a layer whose score stands out: by robust z, and by
    being among the `top`, and above 0; where more than half of the scores are equal the mean absolute
    deviation takes the place of the median one, and where all are, no z is above 0.

    No rows: of the base model, of a tuned one whose adapter is off, and where a tower is tuned by what cannot
    be folded into weights (adapters, prompts, prefixes).

    Args:
        split: which examples; trained on none of them.
        points: number of α from 0 to 1.
        subset: how many of them, spread evenly over the split; all where there are fewer.
        score: what stragglers stand out by: their barrier, or what rewinding them costs.
        threshold: of z, above which a layer is a straggler.
        top: how many layers are `straggler_top`.
        criticality: whether that is measured too; it takes some four times as long as the rest.
    """

    kind: str = "layer_path"
    split: str = "val"
    points: Annotated[int, Field(ge=3)] = 11
    subset: Annotated[int, Field(ge=1)] = 256
    score: Literal["barrier", "rewind"] = "barrier"
    threshold: Annotated[float, Field(gt=0)] = 2.0
    top: Annotated[int, Field(ge=1)] = 1
    criticality: bool = False

    metrics: ClassVar[tuple[Metric, ...]] = (
        _metric(
            "layer_barrier",
            "nats",
            (0.0, None),
            "lower",
            "barrier of the loss where layer l alone walks from θ₀ to θ₁, the rest at θ₁",
            _ADILOVA,
        ),
        _metric("rewind", "nats", (None, None), None, "L(layer l at θ₀, the rest at θ₁) − L(θ₁)", _CHATTERJI),
        _metric(
            "criticality",
            "1",
            (0.0, None),
            None,
            "min over α, σ of α²·‖θ₁ − θ₀‖² / σ² of layer l, such that noise N(0, σ²) at θ(α) costs at most "
            "0.01 of accuracy",
            _CHATTERJI,
        ),
        _metric(
            "straggler_z",
            "1",
            (None, None),
            None,
            "robust z of the score over the tower's layers: (x − median) / (1.4826·MAD)",
            "Iglewicz & Hoaglin 1993",
        ),
        _metric(
            "straggler",
            "1",
            (0.0, 1.0),
            None,
            "1 where straggler_z > 2 and the score > 0",
            _STRAGGLER,
        ),
        _metric(
            "straggler_top",
            "1",
            (0.0, 1.0),
            None,
            "1 of the layers with the top scores above 0, else 0",
            _STRAGGLER,
        ),
    )
    source: ClassVar[str] = "Chatterji et al. 2019, arXiv 1912.00528; Adilova et al. 2024, arXiv 2307.06966"

    def measure(self, subject: Subject) -> Measurement:
        """Rows by component and layer.

        Raises:
            StudyError: the split is not there, or is empty.
            ModelError: what was tuned is not finite any more.
        """
        if subject.change is None:
            return Measurement([])
        change = subject.change()
        if change.apart:
            return Measurement([])
        from tunescope.data.sample import few
        from tunescope.landscape.curve import alphas
        from tunescope.landscape.layers import layers
        from tunescope.landscape.on_top import OnTop
        from tunescope.landscape.plain import Walk

        examples = few(self.examples(subject, self.split), self.subset)
        at, found = alphas(self.points), []
        with Walk(change.base, change.tuned, device=subject.encoder.device) as walk, walk.at(1.0):
            heads = OnTop(walk, subject.head, tuned=subject.encoder).at(1.0, self.split, examples)
            count = len(walk.encoder.map.tower(examples.tower).blocks)
            said = (self.split, self.subset, self.points, self.criticality)
            each = layers(walk, examples.tower, heads, examples, subject.batch_size) if heads else ()
            for number, layer in enumerate(each):
                subject.progress("the layers' paths", number, count)
                key = "/".join(("layer_path", *map(str, said), str(number)))
                found.append(subject.kept(key, partial(_measured, layer, heads, at, self.criticality)))
            subject.progress("the layers' paths", count, count)
        place: dict[str, Any] = {"tower": examples.tower, "split": self.split, "n": len(examples)}
        return Measurement([row for head in heads for row in self._rows(head, at, found, place)])

    def _rows(
        self, head: str, at: "np.ndarray", found: "list[dict[str, np.ndarray]]", place: dict[str, Any]
    ) -> "Iterator[Row]":
        import numpy as np

        from tunescope.landscape.curve import barrier
        from tunescope.landscape.stragglers import scores, stragglers

        losses = np.stack([each[f"{head}/losses"] for each in found])
        which = stragglers(scores(self.score, at, losses), self.top, self.threshold)
        values = {
            "layer_barrier": barrier(at, losses),
            "rewind": losses[:, 0] - losses[:, -1],
            "straggler_z": which.z,
            "straggler": which.marked,
            "straggler_top": np.isin(np.arange(len(found)), which.top),
        }
        if self.criticality:
            values["criticality"] = np.stack([each[f"{head}/criticality"] for each in found])
        for quantity, by_layer in values.items():
            for layer, value in enumerate(by_layer.astype(np.float64).tolist()):
                if quantity != "criticality" or not np.isnan(value):
                    yield Row(f"landscape.{quantity}", value, layer=layer, component=head, **place)


def _measured(
    layer: "Layer", heads: "dict[str, nn.Module]", at: "np.ndarray", critical: bool
) -> "dict[str, np.ndarray]":
    import numpy as np

    from tunescope.landscape.criticality import criticality

    each = [layer.at(alpha) for alpha in at.tolist()]
    found = {f"{head}/losses": np.array([one[head].loss for one in each]) for head in heads}
    if critical:
        for head in heads:
            value = criticality(layer, head, at)
            found[f"{head}/criticality"] = np.array(np.nan if value is None else value)
    return found
