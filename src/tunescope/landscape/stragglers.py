"""Layers that stand out by what it costs to walk them back."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from tunescope.landscape.curve import Alphas, alphas, barrier

Score = Literal["barrier", "rewind"]
THRESHOLD = 2.0
NORMAL = 1.4826  # σ of a normal distribution over its median absolute deviation
NORMAL_MEAN = 1.2533  # σ over its mean absolute deviation, √(π/2)


class Stragglers(NamedTuple):
    """Which layers stand out.

    Args:
        z: every layer's robust z.
        marked: where z > the threshold and the score is above 0; maybe none, maybe several.
        top: the k layers with the largest scores above 0, the largest first; of equal ones the first.
    """

    z: Float[np.ndarray, " l"]
    marked: Bool[np.ndarray, " l"]
    top: Int[np.ndarray, " k"]


def points_of(score: Score, points: int) -> Alphas:
    """The α that a score is made of: `points` for a barrier; both ends for a rewind.

    >>> points_of("rewind", 11).tolist()
    [0.0, 1.0]
    """
    return alphas(points if score == "barrier" else 2)


def scores(score: Score, at: Alphas, losses: Float[np.ndarray, "l a"]) -> Float[np.ndarray, " l"]:
    """What it costs that a layer alone walks back: its barrier, or L(layer at θ₀) − L(θ₁) (`rewind`).

    Barriers are the seed's rule. Where the loss is convex along every layer's path they are all 0, and
    nothing stands out; rewinding still tells which layer the model can do without least.

    Args:
        score: which.
        at: α from 0 to 1, ascending.
        losses: of each layer at each α, the others at θ₁.

    >>> scores("rewind", alphas(2), np.array([[0.5, 0.25], [0.25, 0.5]])).tolist()
    [0.25, -0.25]
    """
    return barrier(at, losses) if score == "barrier" else losses[:, 0] - losses[:, -1]


def stragglers(scores: Float[np.ndarray, " l"], k: int = 1, threshold: float = THRESHOLD) -> Stragglers:
    """The layers that stand out, by both rules: robust z above a threshold, and the top k.

    Args:
        scores: one for each layer.
        k: how many are in `top`, at most as many as have a score above 0.
        threshold: of z.

    Source: arXiv 2410.16476 for straggler layers; both rules are this house's reading of them.

    >>> found = stragglers(np.array([0.1, 0.2, 0.9, 0.15, 0.1]))
    >>> found.marked.tolist(), found.top.tolist()
    ([False, False, True, False, False], [2])
    >>> stragglers(np.zeros(5)).top.tolist()
    []
    """
    z = robust_z(scores)
    order = np.argsort(-scores, kind="stable")
    return Stragglers(z, (z > threshold) & (scores > 0), order[scores[order] > 0][:k])


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
