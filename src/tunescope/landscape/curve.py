"""What a curve of losses or accuracies along a path says: its barrier, its best point, whether it helped."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

Alphas = Float[np.ndarray, " a"]


def alphas(points: int) -> Alphas:
    """Evenly spaced from 0 to 1, both among them.

    >>> alphas(5).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    return np.array([step / (points - 1) for step in range(points)])


def barrier(at: Alphas, losses: Float[np.ndarray, "*b a"]) -> Float[np.ndarray, "*b"]:
    """max_α [L(θ(α)) − ((1 − α)·L(θ₀) + α·L(θ₁))]: how far the loss rises above the line between its ends.

    The ends are among the α, so it is never negative: 0 where the loss stays on or below the line. Not a
    number where a loss is not.

    Args:
        at: α from 0 to 1, ascending.
        losses: at each α, in the last axis.

    Source: Frankle et al. 2020 (arXiv 1912.05671), section 2, with the line between the ends in the place of
    their mean, as in Entezari et al. 2022 (arXiv 2110.06296), section 2.

    >>> barrier(alphas(3), np.array([[1.0, 2.5, 2.0], [4.0, 1.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    line = (1 - at) * losses[..., :1] + at * losses[..., -1:]
    rise = losses - line
    rise[..., [0, -1]] = np.where(
        np.isnan(rise[..., [0, -1]]), np.nan, 0.0
    )  # not rounding: it is the line there
    return np.asarray(rise.max(-1))


def best(values: Float[np.ndarray, " a"], *, lower: bool = False) -> int:
    """Where the highest value is, or the lowest; of equal ones the last, the closest to what was tuned.

    What is not a number is never chosen, unless nothing else is there.

    >>> best(np.array([0.5, 0.7, 0.7, 0.6])), best(np.array([2.0, 1.0, np.nan]), lower=True)
    (2, 1)
    """
    merit = np.where(np.isnan(values), -np.inf, -values if lower else values)
    return len(merit) - 1 - int(merit[::-1].argmax())


def failed(accuracies: Float[np.ndarray, " a"]) -> bool:
    """Whether no α on the path is more accurate than α = 0: the failure mode of interpolation.

    Source: arXiv 2410.16476, which names it.

    >>> failed(np.array([0.5, 0.5, 0.4])), failed(np.array([0.5, 0.51, 0.4]))
    (True, False)
    """
    return not (accuracies[1:] > accuracies[0]).any()


def mean_curve(curves: Sequence[Float[np.ndarray, " a"]]) -> Float[np.ndarray, " a"]:
    """The mean of several splits' curves, each counting alike, however many examples it has."""
    return np.mean(np.stack(curves), axis=0)
