"""Layers that stand out by their barriers."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

THRESHOLD = 2.0
NORMAL = 1.4826  # σ of a normal distribution over its median absolute deviation
NORMAL_MEAN = 1.2533  # σ over its mean absolute deviation, √(π/2)


class Stragglers(NamedTuple):
    """Which layers stand out.

    Args:
        z: every layer's robust z.
        marked: where z > the threshold; maybe none, maybe several.
        top: the k layers with the largest barriers, the largest first; of equal ones the first.
    """

    z: Float[np.ndarray, " l"]
    marked: Bool[np.ndarray, " l"]
    top: Int[np.ndarray, " k"]


def stragglers(barriers: Float[np.ndarray, " l"], k: int = 1, threshold: float = THRESHOLD) -> Stragglers:
    """The layers whose barriers stand out, by both rules: robust z above a threshold, and the top k.

    Args:
        barriers: one for each layer.
        k: how many are in `top`, at most as many as there are layers.
        threshold: of z.

    Source: arXiv 2410.16476 for straggler layers; both rules are this house's reading of them.

    >>> found = stragglers(np.array([0.1, 0.2, 0.9, 0.15, 0.1]))
    >>> found.marked.tolist(), found.top.tolist()
    ([False, False, True, False, False], [2])
    """
    z = robust_z(barriers)
    return Stragglers(z, z > threshold, np.argsort(-barriers, kind="stable")[:k])


def robust_z(values: Float[np.ndarray, " l"]) -> Float[np.ndarray, " l"]:
    """(x − median) / (1.4826 · MAD), MAD the median of |x − median|.

    Where more than half of the values are equal MAD is 0, and the mean of |x − median| times 1.2533 takes the
    place of 1.4826 · MAD; where all are, z is 0 throughout.

    Source: Iglewicz & Hoaglin 1993, How to Detect and Handle Outliers.

    >>> robust_z(np.array([0.0, 1.0, 2.0, 3.0, 14.0])).round(3).tolist()
    [-1.349, -0.674, 0.0, 0.674, 8.094]
    >>> robust_z(np.array([0.0, 0.0, 0.0, 0.4])).round(3).tolist()
    [0.0, 0.0, 0.0, 3.192]
    """
    apart = values - np.median(values)
    scale = NORMAL * np.median(np.abs(apart))
    if scale == 0:
        scale = NORMAL_MEAN * np.abs(apart).mean()
    return apart / scale if scale else np.zeros_like(apart)
