"""Spearman's rank correlation of two numbers of the same runs, with other things held fixed.

Ranks are taken within strata (one: all runs), as mean ranks over nₛ + 1. From the ranks of both numbers is
taken what their cells (runs with the same text factors, or the same learning rate) have in common, by
centring them there, and what goes with the ranks of further numeric factors, by least squares. ρ is the
correlation of what remains. With one such factor z, one stratum and one cell that is the partial rank
correlation

    ρ_xy·z = (ρ_xy − ρ_xz·ρ_yz) / √((1 − ρ_xz²)(1 − ρ_yz²)).

Source: Kendall (1942), Biometrika 32, for partial rank correlation; Conover (1999), Practical Nonparametric
Statistics, section 5.4, for Spearman's.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from tunescope.stats.intervals import CONSTANT, Floats, bca, spearman_interval
from tunescope.stats.orders import counted, orders

RUNS_A_CELL = 10  # with fewer, resampled cells hold too few different runs, and the interval is far too wide


@dataclass(frozen=True)
class Held:
    """Two numbers of each run, and what is held fixed between them; all of shape (n,).

    Args:
        x: the number that may predict.
        y: the number that may be predicted.
        strata: codes 0, 1, …: numbers are ranked within them.
        cells: codes 0, 1, …, each within one stratum: ranks are centred within them.
        others: numeric factors whose ranks are taken out besides.
        linear: take the numbers as they are instead of their ranks: Pearson's partial correlation.
    """

    x: Floats
    y: Floats
    strata: Floats
    cells: Floats
    others: tuple[Floats, ...] = ()
    linear: bool = False

    @property
    def effective(self) -> int:
        """Runs worth as much with nothing held fixed: every cell but one, and every factor, costs one."""
        return len(self.x) - len(np.unique(self.cells)) + 1 - len(self.others)

    @property
    def sizes(self) -> list[int]:
        """How many runs each cell has."""
        return np.unique(self.cells, return_counts=True)[1].tolist()


def rho(held: Held) -> float | None:
    """Spearman's ρ of what remains; None where nothing of one of them does.

    >>> one = np.zeros(5)
    >>> z = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    >>> x, y = np.array([1.0, 3.0, 2.0, 4.0, 5.0]), np.array([2.0, 1.0, 3.0, 5.0, 4.0])
    >>> rho(Held(x, y, one, one)), round(rho(Held(x, y, one, one, (z,))), 4)
    (0.6, -0.4588)
    """
    u, v, _ = remains(held.x, held.y, held.strata, held.cells, *held.others, linear=held.linear)
    return None if not (u.any() and v.any()) else round(float(correlation(u, v)), 12)


def permuted(held: Held) -> tuple[float, float] | None:
    """Two-sided p of ρ by exchanging runs within their cells, and the smallest p that these cells could give.

    Where cells alone are held, exchanged runs differ by chance alone if y does not depend on x, and p is
    exact. Where the ranks of factors are taken out, what remains of y is exchanged, and they are taken out
    again (Freedman and Lane's way). All orders are counted where there are at most 8!; else 9,999 seeded
    shuffles and the order at hand.

    Returns:
        p, and the share of all orders that are as extreme as the most extreme; 1 / 10,000 where orders are
        drawn. None where ρ is.

    Source: Freedman & Lane (1983), Journal of Business & Economic Statistics 1; Winkler et al. (2014),
    NeuroImage 92.
    """
    u, v, basis = remains(held.x, held.y, held.strata, held.cells, *held.others, linear=held.linear)
    if not (u.any() and v.any()):
        return None
    blocks = [np.flatnonzero(held.cells == cell) for cell in np.unique(held.cells)]
    columns = np.stack([u, *basis], axis=1)
    sums = orders([v[block] for block in blocks], [columns[block] for block in blocks])
    again = np.maximum(v @ v - (sums[:, 1:] ** 2).sum(1), 0.0)  # the rest, once they are taken out again
    null = np.abs(sums[:, 0])
    null = np.divide(null, np.sqrt(u @ u * again), out=np.zeros_like(null), where=again > CONSTANT * (v @ v))
    seen = abs(float(correlation(u, v)))
    extreme = int(np.count_nonzero(null >= seen - CONSTANT))
    if not counted(held.sizes):
        return (extreme + 1) / (len(null) + 1), 1 / (len(null) + 1)
    return extreme / len(null), int(np.count_nonzero(null >= null.max() - CONSTANT)) / len(null)


def bootstraps(held: Held) -> bool:
    """Whether `interval` resamples: cells hold ten runs or more on average."""
    return len(held.x) >= RUNS_A_CELL * len(held.sizes)


def interval(held: Held) -> tuple[float, float] | None:
    """95 % interval of ρ; None below four effective runs, where |ρ| = 1, or where resamples give no number.

    Bias-corrected and accelerated, from 10,000 seeded resamples of whole runs, everything ranked and taken
    out again in each. Where cells hold fewer than ten runs on average, resampled cells would keep too few
    different runs: there it is Bonett and Wright's, at the effective number of runs.

    Source: Efron (1987), JASA 82; Bonett & Wright (2000), Psychometrika 65.
    """
    found = rho(held)
    if found is None or abs(found) >= 1 - CONSTANT or held.effective < 4:
        return None
    if not bootstraps(held):
        return spearman_interval(found, held.effective)

    def statistic(*resampled: Floats, axis: int = -1) -> Floats:
        u, v, _ = remains(*resampled)
        return correlation(u, v)

    low, high = bca([held.x, held.y, held.strata, held.cells, *held.others], statistic, paired=True)
    return (low, high) if np.isfinite([low, high]).all() else None


def remains(
    x: Floats, y: Floats, strata: Floats, cells: Floats, *others: Floats, linear: bool = False
) -> tuple[Floats, Floats, list[Floats]]:
    """Of the ranks of x and y, what is left once the rest is taken out, and the unit vectors of the others.

    All of shape (…, n): resamples side by side, each with its own strata and cells.
    """
    basis: list[Floats] = []
    taken = _sized if linear else _ranks
    for other in others:
        z = _without(_centred(taken(other, strata), cells), basis)
        length = np.sqrt((z * z).sum(-1, keepdims=True))
        basis.append(np.divide(z, length, out=np.zeros_like(z), where=length > CONSTANT))
    u, v = (_without(_centred(taken(each, strata), cells), basis) for each in (x, y))
    return u, v, basis


def _ranks(values: Floats, strata: Floats) -> Floats:
    n = values.shape[-1]
    plain = stats.rankdata(values, axis=-1)
    member = _members(strata)
    sizes = member.sum(-2, keepdims=True)
    below = (member * (sizes.cumsum(-1) - sizes)).sum(-1)
    return (stats.rankdata(strata * (n + 1) + plain, axis=-1) - below) / ((member * sizes).sum(-1) + 1)


def _sized(values: Floats, _: Floats) -> Floats:
    """The values over the largest of them, since squares of very small numbers would be 0."""
    largest = np.abs(values).max(-1, keepdims=True)
    return np.divide(values, largest, out=np.zeros_like(values), where=largest > 0)


def _centred(values: Floats, cells: Floats) -> Floats:
    member = _members(cells)
    sums = np.einsum("...n,...nk->...k", values, member)
    means = sums / np.maximum(member.sum(-2), 1)
    rest = values - np.einsum("...k,...nk->...n", means, member)
    return np.where(np.abs(rest) > CONSTANT, rest, 0.0)


def _without(values: Floats, basis: list[Floats]) -> Floats:
    for unit in basis:
        values = values - (values * unit).sum(-1, keepdims=True) * unit
    return np.where(np.abs(values) > CONSTANT, values, 0.0)


def _members(codes: Floats) -> Floats:
    return (codes[..., None] == np.arange(codes.max() + 1)).astype(float)


def correlation(u: Floats, v: Floats) -> Floats:
    """A resample in which nothing varies shows no relation: 0."""
    length = np.sqrt((u * u).sum(-1) * (v * v).sum(-1))
    return np.divide((u * v).sum(-1), length, out=np.zeros_like(length), where=length > CONSTANT)
