"""What the features are good for: the task itself, the task under shifts, and other tasks zero-shot."""

from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tunescope.probes.probe import Measurement, Probe, Subject
from tunescope.results.metric import Better, Derived, Metric
from tunescope.results.row import Row

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tunescope.data.examples import Examples

BINS = 15
_SHARE: tuple[Derived, ...] = ("base", "base_only", "change", "retention")
_LOSS: tuple[Derived, ...] = ("base", "base_only", "change")
_BENCHMARK = "CLIP_benchmark; Radford et al. 2021"


def _metric(
    quantity: str, unit: str, high: float | None, better: Better, definition: str, source: str
) -> Metric:
    derived = _SHARE if better == "higher" else _LOSS
    return Metric(
        f"transfer.{quantity}", ("component", "split"), unit, (0.0, high), better, definition, source, derived
    )


class TransferProbe(Probe):
    """Accuracy, loss and calibration on the task, under shifts, and zero-shot on other tasks.

    Splits `val`, `test` and `shift:<data>` are read under the trained head (component `trained`; the base
    model has none) and, where there is a text tower, under the head made of its prompts (component `text`);
    `zero_shot:<data>` under the text head alone. A fall under `trained` but not under `text` sits in the
    head, not in the encoder. Features are computed once per split and shared by both heads.
    """

    kind: str = "transfer"

    metrics: ClassVar[tuple[Metric, ...]] = (
        _metric(
            "acc1", "1", 1.0, "higher", "share of examples whose label has the highest logit", _BENCHMARK
        ),
        _metric("acc5", "1", 1.0, "higher", "share whose label is among the five highest logits", _BENCHMARK),
        _metric(
            "mean_per_class_recall",
            "1",
            1.0,
            "higher",
            "acc1 per class that occurs, then the mean",
            _BENCHMARK,
        ),
        _metric("loss", "nats", None, "lower", "mean cross-entropy, −ln softmax(logits)[label]", "tunescope"),
        _metric(
            "ece",
            "1",
            1.0,
            "lower",
            "Σ_b n_b/n · |accuracy_b − confidence_b| over 15 bins of equal width",
            "Guo et al. 2017, section 2",
        ),
    )
    source: ClassVar[str] = "Radford et al. 2021; Guo et al. 2017"

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
            if zero_shot or encoder.joint:
                asked = (examples.class_names, examples.templates)
                if asked not in prompted:
                    prompted[asked] = text_head(encoder, *asked)
                heads["text"] = prompted[asked]
            if heads:
                rows += _rows(split, heads, _features(subject, examples), examples.labels)
        return Measurement(rows)


def _rows(split: str, heads: "dict[str, nn.Module]", features: "Tensor", labels: np.ndarray) -> list[Row]:
    return [
        Row(
            f"transfer.{quantity}",
            score.value,
            component=component,
            split=split,
            std=score.std,
            n=len(labels),
        )
        for component, head in heads.items()
        for quantity, score in scores(_logits(head, features), labels).items()
    ]


def _features(subject: Subject, examples: "Examples") -> "Tensor":
    import torch

    encoder, size = subject.encoder, subject.batch_size
    with torch.no_grad():
        starts = range(0, len(examples.inputs), size)
        batches = (examples.inputs[start : start + size] for start in starts)
        return torch.cat([encoder.features(batch) for batch in batches])


def _logits(head: "nn.Module", features: "Tensor") -> Float[np.ndarray, "n classes"]:
    import torch

    with torch.no_grad():
        return head(features).double().cpu().numpy()


class Score(NamedTuple):
    """A value over examples; `std` (ddof = 1) where it is a mean of one number per example."""

    value: float
    std: float | None = None


def scores(logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]) -> dict[str, Score]:
    """Every quantity of the probe, from logits.

    Args:
        logits: float64 [n, classes], n ≥ 1. Equal logits rank by class; one that is not a number ranks last.
        labels: [n], indices of classes.

    Returns:
        by quantity; `acc5` only where there are at least six classes.

    >>> found = scores(np.log([[0.7, 0.3], [0.4, 0.6]]), np.array([0, 0]))
    >>> {quantity: round(score.value, 4) for quantity, score in found.items()}
    {'acc1': 0.5, 'mean_per_class_recall': 0.5, 'loss': 0.6365, 'ece': 0.45}
    """
    n, classes = logits.shape
    own = logits[np.arange(n), labels][:, None]
    earlier = np.arange(classes) < labels[:, None]
    rank = (~(logits <= own) | ((logits == own) & earlier)).sum(1)
    highest = logits.max(1, keepdims=True)
    with np.errstate(invalid="ignore"):  # infinite logits: the loss is then not a number, and says so
        normaliser = highest + np.log(np.exp(logits - highest).sum(1, keepdims=True))
    right = rank == 0
    found = {"acc1": _mean(right)}
    if classes >= 6:
        found["acc5"] = _mean(rank < 5)
    found["mean_per_class_recall"] = Score(
        float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))
    )
    found["loss"] = _mean((normaliser - own)[:, 0])
    found["ece"] = Score(_ece(np.exp(highest - normaliser)[:, 0], right))
    return found


def _mean(values: np.ndarray) -> Score:
    return Score(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan"))


def _ece(confidence: Float[np.ndarray, " n"], right: np.ndarray) -> float:
    """Expected calibration error over bins (k/15, (k+1)/15]."""
    if not np.isfinite(confidence).all():
        return float("nan")
    at = np.clip(np.ceil(confidence * BINS) - 1, 0, BINS - 1).astype(int)
    gaps = np.bincount(at, right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(right))
