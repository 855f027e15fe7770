"""Spearman's ρ of several numbers with one, over thousands of resamples of the runs at once."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tunescope.stats.intervals import CONSTANT, LEVEL, RESAMPLES, Floats

Places = NDArray[np.intp]

BATCH = 500  # resamples whose ranks are held at once


def resamples(strata: Floats, seed: int = 0) -> Floats:
    """How often each run is drawn, of shape (10,000, n): of each stratum, one less than it has.

    As many as it has would let strata vary too little, by (n − 1)/n.

    Source: McCarthy & Snowden (1985), The Bootstrap and Finite Population Sampling; Rao & Wu (1988), JASA 83.
    """
    rng = np.random.default_rng(seed)
    times = np.empty((RESAMPLES, len(strata)))
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        times[:, own] = rng.multinomial(max(1, len(own) - 1), np.full(len(own), 1 / len(own)), size=RESAMPLES)
    return times


def rhos(many: Floats, y: Floats, times: Floats) -> Floats:
    """Spearman's ρ of each number with y, each run counted as often as it was drawn; ties get mean ranks.

    Args:
        many: of shape (k, n).
        y: of shape (n,).
        times: how often each run counts, of shape (b, n).

    Returns:
        of shape (b, k); 0 where one of the two does not vary.

    >>> rhos(np.array([[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]]), np.arange(3.0), np.ones((1, 3))).tolist()
    [[1.0, 0.5]]
    """
    found = np.empty((len(times), len(many)))
    ranked = [_ties(values) for values in (*many, y)]
    for start in range(0, len(times), BATCH):
        part = np.ascontiguousarray(times[start : start + BATCH].T)
        centre = part.sum(0) / 2
        v = _ranks(part, *ranked[-1]) - centre
        weighted = part * v
        spread = (weighted * v).sum(0)
        for place in range(len(many)):
            u = _ranks(part, *ranked[place]) - centre
            length = np.sqrt(np.maximum((part * u * u).sum(0) * spread, 0.0))
            sums = (weighted * u).sum(0)
            found[start : start + BATCH, place] = np.divide(
                sums, length, out=np.zeros_like(sums), where=length > CONSTANT
            )
    return found


def bca_ends(value: float, drawn: Floats, without: Floats, strata: Floats) -> tuple[float, float] | None:
    """Bias-corrected and accelerated 95 % interval from resamples within strata; None without a spread.

    With z₀ = Φ⁻¹(share of resamples below the value) and a = Σ_s Σ_i U³ᵢ/n³ₛ / 6(Σ_s Σ_i U²ᵢ/n²ₛ)^1.5, where
    Uᵢ = (nₛ − 1)(mean of θ₍ⱼ₎ over stratum s − θ₍ᵢ₎), the ends are the quantiles
    Φ(z₀ + (z₀ ± 1.96)/(1 − a(z₀ ± 1.96))) of the resamples.

    Args:
        value: the statistic of the runs as they are.
        drawn: of the resamples, of shape (b,).
        without: of the runs without each in turn, of shape (n,).
        strata: what each run was drawn from, of shape (n,).

    Source: Efron (1987), JASA 82; Davison & Hinkley (1997), Bootstrap Methods, section 5.3, for strata.
    """
    share = (np.count_nonzero(drawn < value) + np.count_nonzero(drawn <= value)) / (2 * len(drawn))
    if not 0 < share < 1:
        return None
    cubes = squares = 0.0
    for stratum in np.unique(strata):
        own = without[strata == stratum]
        moved = (len(own) - 1) * (own.mean() - own) / len(own)
        cubes += float((moved**3).sum())
        squares += float((moved**2).sum())
    if squares <= CONSTANT**2:
        return None
    bias, pull = float(stats.norm.ppf(share)), cubes / (6 * squares**1.5)
    edge = float(stats.norm.ppf((1 + LEVEL) / 2))
    shifted = np.array([bias + (bias + z) / (1 - pull * (bias + z)) for z in (-edge, edge)])
    low, high = (float(np.quantile(drawn, at)) for at in stats.norm.cdf(shifted))
    return low, high


def _ties(values: Floats) -> tuple[Places, Places, Places]:
    """The order of values, where each different value starts in it, and which of these each value is."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=-np.inf) > 0)
    codes = np.empty(len(values), int)
    codes[order] = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(values))))
    return order, starts, codes


def _ranks(times: Floats, order: Places, starts: Places, codes: Places) -> Floats:
    """What lies below each run's value, and half of what equals it; `times` of shape (n, b)."""
    each = times[order] if len(starts) == len(order) else np.add.reduceat(times[order], starts, axis=0)
    return (each.cumsum(0) - each / 2)[codes]
