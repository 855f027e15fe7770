"""Every order of runs within their blocks, or thousands of them: what a permutation test counts."""

import math
from collections.abc import Sequence
from functools import cache, reduce
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from tunescope.stats.intervals import Floats

EXACT_UP_TO = math.factorial(8)  # so many orders are counted one by one
SHUFFLES = 9_999
BATCH = 1_000


def counted(sizes: Sequence[int]) -> bool:
    """Whether blocks of these sizes have so few orders that all of them are counted.

    >>> counted([8]), counted([9]), counted([3, 3, 3, 3])
    (True, False, True)
    """
    return math.prod(map(math.factorial, sizes)) <= EXACT_UP_TO


def orders(blocks: Sequence[Floats], columns: Sequence[Floats]) -> Floats:
    """What sums of products come to when values change places within their blocks: Σ_b π_b(v_b)ᵀ·c_b.

    All orders where there are at most 8! of them, else 9,999 seeded shuffles.

    Args:
        blocks: values v_b that may change places, each of shape (n_b,).
        columns: for each block, what the values are multiplied with, of shape (n_b, k).

    Returns:
        of shape (orders, k).

    >>> orders([np.array([1.0, 2.0])], [np.array([[1.0], [0.0]])])[:, 0].tolist()
    [1.0, 2.0]
    """
    pairs = list(zip(blocks, columns, strict=True))
    if counted([len(block) for block in blocks]):
        sums = [block[_places(len(block))] @ column for block, column in pairs]
        return reduce(lambda a, b: (a[:, None] + b[None, :]).reshape(-1, a.shape[1]), sums)
    rng = np.random.default_rng(0)
    return np.sum([_shuffled(block, column, rng) for block, column in pairs], axis=0)


@cache
def _places(n: int) -> NDArray[np.intp]:
    """Every order of n places; up to eight of them, so that what is kept is small."""
    return np.array(list(permutations(range(n))), np.intp)


def _shuffled(block: Floats, column: Floats, rng: np.random.Generator) -> Floats:
    batches = [min(BATCH, SHUFFLES - start) for start in range(0, SHUFFLES, BATCH)]
    return np.concatenate([rng.permuted(np.tile(block, (batch, 1)), axis=1) @ column for batch in batches])
