"""Kendall's τ-b: how many more pairs of runs are in order than out of order, of those that can be compared.

Pairs are taken within cells (one: all runs) and counted together:

    τ = Σ_cells Σ_{i<j} sign(xᵢ − xⱼ)·sign(yᵢ − yⱼ) / √(U_x·U_y),

U the pairs in cells that are not tied. With one cell that is τ-b.

Source: Kendall (1945), Biometrika 33; Korn (1984), Biometrics 40, within blocks.
"""

import math
from functools import reduce
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tunescope.stats.intervals import CONSTANT, LEVEL, Floats
from tunescope.stats.orders import SHUFFLES, counted
from tunescope.stats.partial import Held
from tunescope.stats.shift import mann_whitney_null

BATCH = 1_000_000  # comparisons of pairs held in memory at once

Cell = tuple[Floats, Floats]  # signs of all differences in x and in y, each of shape (n, n)


def tau(held: Held) -> float | None:
    """τ of runs within their cells; None where nothing can be compared.

    >>> one = np.zeros(4)
    >>> round(tau(Held(np.arange(4.0), np.array([1.0, 0.0, 2.0, 3.0]), one, one)), 4)
    0.6667
    """
    cells = _cells(held)
    length = math.sqrt(sum(_untied(x) for x, _ in cells) * sum(_untied(y) for _, y in cells))
    return None if length == 0 else round(float(sum((x * y).sum() for x, y in cells)) / 2 / length, 12)


def kendall_p(held: Held) -> tuple[float, float, bool] | None:
    """Two-sided p of τ by exchanging runs within their cells, the smallest that they could give, and whether
    all orders are counted.

    Where no cell has ties in both numbers, the orders are counted by a formula, however many runs there are:
    concordant pairs are distributed as the coefficients of a Gaussian multinomial. Else one by one: all of
    them up to 8!, or 9,999 seeded shuffles and the order at hand.

    Source: Kendall (1938), Biometrika 30; Terpstra (1952), Indagationes Mathematicae 14, with ties in one.
    """
    cells = _cells(held)
    if tau(held) is None:
        return None
    seen = abs(float(sum((x * y).sum() for x, y in cells))) / 2
    if all(min(_ties(x), _ties(y)) == 1 for x, y in cells):
        shares = reduce(np.convolve, [_counted(x if _ties(x) > 1 else y) for x, y in cells])
        scores = np.abs(2 * np.arange(len(shares)) - (len(shares) - 1))
        extreme, most = (float(shares[scores >= least - 0.5].sum()) for least in (seen, scores.max()))
        return min(1.0, extreme), most, True
    null = np.abs(_exchanged(cells))
    extreme = int(np.count_nonzero(null >= seen - 0.5))
    if not counted(held.sizes):
        return (extreme + 1) / (len(null) + 1), 1 / (len(null) + 1), False
    return extreme / len(null), int(np.count_nonzero(null >= null.max() - 0.5)) / len(null), True


def kendall_interval(held: Held) -> tuple[float, float] | None:
    """Bonett and Wright's interval of τ: tanh(atanh τ ± 1.96·√(0.437/(n − 4))).

    n is the number of runs; of runs in several cells, that of so many runs in one whose τ would vary as much
    by chance. None for n ≤ 4 and |τ| = 1.

    Source: Fieller, Hartley & Pearson (1957), Biometrika 44; Bonett & Wright (2000), Psychometrika 65.
    """
    value = tau(held)
    pairs = sum(n * (n - 1) / 2 for n in held.sizes)
    if value is None or abs(value) >= 1 - CONSTANT or pairs == 0:
        return None
    v = sum(n * (n - 1) * (2 * n + 5) / 18 for n in held.sizes) / pairs**2
    n = (9 * v + 4 + math.sqrt((9 * v + 4) ** 2 + 360 * v)) / (18 * v)
    if n <= 4 + 1e-9:
        return None
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt(0.437 / (n - 4))
    return math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)


def _cells(held: Held) -> list[Cell]:
    found: list[Cell] = []
    for cell in np.unique(held.cells):
        x, y = held.x[held.cells == cell], held.y[held.cells == cell]
        found.append((np.sign(x[:, None] - x[None, :]), np.sign(y[:, None] - y[None, :])))
    return found


def _untied(signs: Floats) -> float:
    return float(np.abs(signs).sum()) / 2


def _ties(signs: Floats) -> int:
    return int((signs == 0).sum(1).max())


def _counted(signs: Floats) -> Floats:
    """P(c pairs in order) where the other number is not tied; `signs` are those of the one that may be."""
    levels, sizes = np.unique((signs > 0).sum(1), return_counts=True)
    shares = np.ones(1)
    for level, size in zip(levels, sizes, strict=True):
        shares = np.convolve(shares, mann_whitney_null(int(size), int(level)))
    return shares


def _exchanged(cells: list[Cell]) -> Floats:
    if counted([len(x) for x, _ in cells]):
        each = [_scores(x, y, np.array(list(permutations(range(len(x)))))) for x, y in cells]
        return reduce(lambda a, b: (a[:, None] + b[None, :]).ravel(), each)
    rng = np.random.default_rng(0)
    return np.sum(
        [_scores(x, y, rng.permuted(np.tile(np.arange(len(x)), (SHUFFLES, 1)), axis=1)) for x, y in cells],
        axis=0,
    )


def _scores(x: Floats, y: Floats, places: NDArray[np.intp]) -> Floats:
    step = max(1, BATCH // len(x) ** 2)
    found = [
        (x * y[part[:, :, None], part[:, None, :]]).sum((1, 2)) / 2
        for part in (places[i : i + step] for i in range(0, len(places), step))
    ]
    return np.concatenate(found)
