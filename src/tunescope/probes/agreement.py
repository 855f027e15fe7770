"""Whether a cheap ranking of heads is like the exact one."""

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import kendalltau


def kendall(a: Float[np.ndarray, "l h"], b: Float[np.ndarray, "l h"]) -> float:
    """Kendall's τ-b over all heads; not a number where one of the two does not vary.

    >>> round(kendall(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [4.0, 3.0]])), 4)
    0.6667
    """
    found: Any = kendalltau(a.ravel(), b.ravel())
    return float(found.statistic)


def top_overlap(a: Float[np.ndarray, "l h"], b: Float[np.ndarray, "l h"]) -> float:
    """|top_k(a) ∩ top_k(b)| / k, k a quarter of the heads, at least one; of equal values the first counts.

    By chance alone it is 1/4.

    >>> top_overlap(np.array([[4.0, 3, 2, 1], [0, 0, 0, 0]]), np.array([[9.0, 0, 8, 0], [0, 0, 0, 0]]))
    0.5
    """
    k = max(1, round(a.size / 4))
    first, second = (set(np.argsort(-x.ravel(), kind="stable")[:k].tolist()) for x in (a, b))
    return len(first & second) / k
