"""What the features are good for: the task itself, the task under shifts, and other tasks zero-shot."""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float

from tunescope.probes.probe import Measurement, Probe, Subject
from tunescope.probes.scores import Score, errors, scores
from tunescope.results.metric import Better, Derived, Metric
from tunescope.results.row import Row

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tunescope.data.examples import Examples

_SHARE: tuple[Derived, ...] = ("base", "base_only", "change", "retention")
_SIGNED: tuple[Derived, ...] = ("base", "base_only", "change")
_TRAINED: tuple[Derived, ...] = ("base_only",)  # under a trained head, which the base model has not
_BENCHMARK = "CLIP_benchmark; Radford et al. 2021"
_GLUE = "Wang et al. 2019, section 3"


def _metric(
    quantity: str,
    unit: str,
    range: tuple[float | None, float | None],
    better: Better,
    definition: str,
    source: str,
    derived: tuple[Derived, ...] = _SHARE,
) -> Metric:
    return Metric(
        f"transfer.{quantity}", ("component", "split"), unit, range, better, definition, source, derived
    )


class TransferProbe(Probe):
    """Accuracy, loss and calibration on the task, under shifts, and zero-shot on other tasks.

    Splits `val`, `test` and `shift:<data>` are read under the trained head (component `trained`; the base
    model has none) and, for images where there is a text tower, under the head made of its prompts (component
    `text`); `zero_shot:<data>` under the text head alone. A fall under `trained` but not under `text` sits in
    the head, not in the encoder. Features are computed once per split and shared by both heads.

    Where labels are numbers, correlation and squared error take the place of all the rest.
    """

    kind: str = "transfer"
    version: ClassVar[int] = 2

    metrics: ClassVar[tuple[Metric, ...]] = (
        _metric(
            "acc1",
            "1",
            (0.0, 1.0),
            "higher",
            "share of examples whose label has the highest logit",
            _BENCHMARK,
        ),
        _metric(
            "acc5",
            "1",
            (0.0, 1.0),
            "higher",
            "share whose label is among the five highest logits",
            _BENCHMARK,
        ),
        _metric(
            "mean_per_class_recall",
            "1",
            (0.0, 1.0),
            "higher",
            "acc1 per class that occurs, then the mean",
            _BENCHMARK,
        ),
        _metric(
            "f1",
            "1",
            (0.0, 1.0),
            "higher",
            "2·TP / (2·TP + FP + FN): of the second of two classes; of more, the mean over those that "
            "occur among labels or predictions",
            "GLUE: " + _GLUE + "; Opitz & Burst 2019",
        ),
        _metric(
            "matthews",
            "1",
            (-1.0, 1.0),
            "higher",
            "correlation of predicted and true classes, cov(X, Y) / √(cov(X, X) · cov(Y, Y)) of one-hot X, Y",
            "GLUE: " + _GLUE + "; Gorodkin 2004",
            _SIGNED,
        ),
        _metric(
            "loss",
            "nats",
            (0.0, None),
            "lower",
            "mean cross-entropy, −ln softmax(logits)[label]",
            "tunescope",
            _SIGNED,
        ),
        _metric(
            "ece",
            "1",
            (0.0, 1.0),
            "lower",
            "Σ_b n_b/n · |accuracy_b − confidence_b| over 15 bins of equal width",
            "Guo et al. 2017, section 2",
            _SIGNED,
        ),
        _metric(
            "pearson",
            "1",
            (-1.0, 1.0),
            "higher",
            "Pearson's correlation of output and label, where labels are numbers",
            "GLUE: " + _GLUE,
            _TRAINED,
        ),
        _metric(
            "spearman",
            "1",
            (-1.0, 1.0),
            "higher",
            "Pearson's correlation of the ranks of output and label; ties share their mean rank",
            "GLUE: " + _GLUE,
            _TRAINED,
        ),
        _metric(
            "squared_error",
            "1",
            (0.0, None),
            "lower",
            "mean of (output − label)², where labels are numbers",
            "tunescope",
            _TRAINED,
        ),
    )
    source: ClassVar[str] = "Radford et al. 2021; Guo et al. 2017; Wang et al. 2019"

    def measure(self, subject: Subject) -> Measurement:
        """Rows by split and head; the `probe` split is for structure and is not read here.

        Raises:
            ModelError: a zero-shot split, but no text tower.
        """
        from tunescope.models.heads import text_head

        encoder = subject.encoder
        prompted: dict[tuple, nn.Module] = {}
        rows = []
        for split, examples in subject.examples.items():
            zero_shot = split.startswith("zero_shot:")
            if not zero_shot and split not in ("val", "test") and not split.startswith("shift:"):
                continue
            heads = {} if zero_shot or subject.head is None else {"trained": subject.head}
            # Texts have no head of prompts: the tower that would make it is the one that is tuned.
            if zero_shot or (encoder.joint and examples.tower == "vision"):
                asked = (examples.class_names, examples.templates)
                if asked not in prompted:
                    prompted[asked] = text_head(encoder, *asked)
                heads["text"] = prompted[asked]
            if heads:
                rows += _rows(split, heads, _features(subject, examples), examples)
        return Measurement(rows)


def _rows(split: str, heads: "dict[str, nn.Module]", features: "Tensor", examples: "Examples") -> list[Row]:
    return [
        Row(
            f"transfer.{quantity}",
            score.value,
            component=component,
            split=split,
            std=score.std,
            n=len(examples),
        )
        for component, head in heads.items()
        for quantity, score in _scores(_outputs(head, features), examples).items()
    ]


def _scores(outputs: Float[np.ndarray, "n outputs"], examples: "Examples") -> dict[str, Score]:
    if examples.regression:
        return errors(outputs[:, 0], examples.labels)
    return scores(outputs, examples.labels)


def _features(subject: Subject, examples: "Examples") -> "Tensor":
    import torch

    encoder, size = subject.encoder, subject.batch_size
    with torch.no_grad():
        starts = range(0, len(examples.inputs), size)
        batches = (examples.inputs[start : start + size] for start in starts)
        return torch.cat([encoder.features(batch) for batch in batches])


def _outputs(head: "nn.Module", features: "Tensor") -> Float[np.ndarray, "n outputs"]:
    import torch

    with torch.no_grad():
        return head(features).double().cpu().numpy()
