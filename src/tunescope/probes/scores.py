"""How good predictions are: of classes, from logits; of numbers, from outputs."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

BINS = 15


class Score(NamedTuple):
    """A value over examples; `std` (ddof = 1) where it is a mean of one number per example."""

    value: float
    std: float | None = None


def scores(logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]) -> dict[str, Score]:
    """Every quantity of a classifier, from logits.

    Args:
        logits: float64 [n, classes], n ≥ 1. Equal logits rank by class; one that is not a number ranks last.
        labels: [n], indices of classes.

    Returns:
        by quantity; `acc5` only where there are at least six classes.

    >>> found = scores(np.log([[0.7, 0.3], [0.4, 0.6]]), np.array([0, 0]))
    >>> {quantity: round(score.value, 4) for quantity, score in found.items()}
    {'acc1': 0.5, 'mean_per_class_recall': 0.5, 'f1': 0.0, 'matthews': 0.0, 'loss': 0.6365, 'ece': 0.45}
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
    known = not np.isnan(logits).any()  # else something is predicted that is no class
    predicted = logits.argmax(1)
    found["f1"] = Score(f1(predicted, labels, classes) if known else float("nan"))
    found["matthews"] = Score(matthews(predicted, labels, classes) if known else float("nan"))
    found["loss"] = _mean((normaliser - own)[:, 0])
    found["ece"] = Score(_ece(np.exp(highest - normaliser)[:, 0], right))
    return found


def f1(predicted: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"], classes: int) -> float:
    """F1 = 2·TP / (2·TP + FP + FN): of class 1 where there are two; else its mean over the classes.

    Of two classes the second is the positive one, as GLUE has it. Of more, those count that occur among
    labels or predictions, and the mean is of their F1 (macro F1, the averaged F1 of Opitz & Burst
    2019, arXiv 1911.03347). 0 where class 1 of two occurs in neither.

    >>> f1(np.array([1, 1, 0]), np.array([1, 0, 1]), 2)
    0.5
    """
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    both = np.bincount(labels, minlength=classes) + np.bincount(predicted, minlength=classes)
    if classes == 2:
        return float(2 * hits[1] / both[1]) if both[1] else 0.0
    return float((2 * hits[both > 0] / both[both > 0]).mean())


def matthews(predicted: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"], classes: int) -> float:
    """Matthews' correlation for any number of classes: R_K = cov(X, Y) / √(cov(X, X) · cov(Y, Y)).

    X and Y are predictions and labels, one-hot, and cov sums over the classes (Gorodkin 2004, section 2);
    for two classes it is Matthews' φ. 0 where labels or predictions are all of one class.

    >>> matthews(np.array([0, 1, 1]), np.array([0, 1, 0]), 2)
    0.5
    """
    n, agreed = len(labels), int((predicted == labels).sum())
    said, true = (np.bincount(values, minlength=classes).tolist() for values in (predicted, labels))
    between = agreed * n - sum(p * t for p, t in zip(said, true, strict=True))
    within = [n**2 - sum(count**2 for count in counts) for counts in (said, true)]
    return between / (within[0] * within[1]) ** 0.5 if all(within) else 0.0


def errors(outputs: Float[np.ndarray, " n"], labels: Float[np.ndarray, " n"]) -> dict[str, Score]:
    """Every quantity of a regression.

    Args:
        outputs: float64 [n], n ≥ 1.
        labels: float64 [n].

    Returns:
        by quantity; a correlation of values that are all equal, or not finite, is not a number.

    >>> found = errors(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]))
    >>> {quantity: round(score.value, 4) for quantity, score in found.items()}
    {'pearson': 0.982, 'spearman': 1.0, 'squared_error': 0.3333}
    """
    from scipy.stats import rankdata

    ranks = (rankdata(outputs), rankdata(labels))  # ties share their mean rank
    return {
        "pearson": Score(pearson(outputs, labels)),
        "spearman": Score(pearson(*ranks) if np.isfinite(outputs).all() else float("nan")),
        "squared_error": _mean((outputs - labels) ** 2),
    }


def pearson(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Pearson's correlation; not a number where one of the two does not vary.

    >>> pearson(np.array([0.0, 1.0]), np.array([3.0, 1.0]))
    -1.0
    """
    if not np.isfinite(x).all() or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(np.clip((x @ y) / np.sqrt((x @ x) * (y @ y)), -1, 1))


def _mean(values: np.ndarray) -> Score:
    return Score(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan"))


def _ece(confidence: Float[np.ndarray, " n"], right: np.ndarray) -> float:
    """Expected calibration error over bins (k/15, (k+1)/15]."""
    if not np.isfinite(confidence).all():
        return float("nan")
    at = np.clip(np.ceil(confidence * BINS) - 1, 0, BINS - 1).astype(int)
    gaps = np.bincount(at, right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(right))
