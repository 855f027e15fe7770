"""Hodges and Lehmann's shift: the difference that goes with a rank test, and its interval."""

import math

import numpy as np
from scipy import stats

from tunescope.stats.finding import Effect
from tunescope.stats.intervals import LEVEL, Floats

NAME = "Hodges–Lehmann shift"
EXACT_UP_TO = 100  # values a sample; beyond, the normal curve leaves out as many differences, or one more


def shift(a: Floats, b: Floats) -> Effect:
    """Median of all differences aᵢ − bⱼ, with the interval of the Mann–Whitney test at 5 %, exact up to 100.

    Args:
        a: values of the first group, of shape (m,).
        b: values of the second group, of shape (n,).

    Returns:
        An effect without ends where even the most extreme order is not significant, as with 3 against 3.

    Source: Hodges & Lehmann (1963), Annals of Mathematical Statistics 34.

    >>> shift(np.array([5.0, 6.0, 7.0, 8.0]), np.array([1.0, 2.0, 3.0, 4.5]))
    Effect(name='Hodges–Lehmann shift', value=4.0, low=0.5, high=7.0, unit='')
    """
    m, n = len(a), len(b)
    if max(m, n) <= EXACT_UP_TO:
        outside = _outside(mann_whitney_null(m, n))
    else:
        outside = _normal(m * n / 2, m * n * (m + n + 1) / 12)
    return _inverted((a[:, None] - b[None, :]).ravel(), outside)


def shift_paired(d: Floats) -> Effect:
    """Median of the Walsh averages (dᵢ + dⱼ)/2, i ≤ j, with the interval of Wilcoxon's test, exact up to 100.

    Args:
        d: paired differences, of shape (n,).

    Returns:
        An effect without ends below six pairs, where Wilcoxon's test cannot be significant.
    """
    i, j = np.triu_indices(len(d))
    n = len(d)
    exact = n <= EXACT_UP_TO
    outside = (
        _outside(signed_rank_null(n)) if exact else _normal(n * (n + 1) / 4, n * (n + 1) * (2 * n + 1) / 24)
    )
    return _inverted((d[i] + d[j]) / 2, outside)


def mann_whitney_null(m: int, n: int) -> Floats:
    """P(U = u), u = 0 … mn, where neither group is above the other and nothing is tied.

    >>> (mann_whitney_null(2, 2) * 6).round(9).tolist()
    [1.0, 1.0, 2.0, 1.0, 1.0]
    """
    # ∏ (1 − qⁿ⁺ⁱ)/(1 − qⁱ), i = 1 … m: the Gaussian binomial coefficient, as shares at every step
    shares = np.zeros(m * n + 1)
    shares[0] = 1.0
    for i in range(1, m + 1):
        grown = shares - np.pad(shares, (n + i, 0))[: len(shares)]
        rows = np.pad(grown, (0, -len(grown) % i)).reshape(-1, i)
        shares = rows.cumsum(axis=0).ravel()[: len(shares)] * i / (n + i)
    return shares


def signed_rank_null(n: int) -> Floats:
    """P(W = w), w = 0 … n(n + 1)/2, where each rank has either sign with the same chance.

    >>> (signed_rank_null(2) * 4).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    shares = np.ones(1)
    for rank in range(1, n + 1):
        shares = (np.pad(shares, (0, rank)) + np.pad(shares, (rank, 0))) / 2
    return shares


def _outside(null: Floats) -> int:
    """How many values of a statistic, from the smallest on, are rejected at 5 %."""
    return int(np.count_nonzero(2 * np.cumsum(null) <= (1 - LEVEL) * (1 + 1e-9)))


def _normal(mean: float, variance: float) -> int:
    """As `_outside`, from the normal curve with a half for continuity."""
    return math.floor(mean - math.sqrt(variance) * float(stats.norm.isf((1 - LEVEL) / 2)) - 0.5) + 1


def _inverted(differences: Floats, k: int) -> Effect:
    """The differences that the test would not reject at 5 %: all but the k outermost on each side."""
    ordered = np.sort(differences)
    middle = float(np.median(ordered))
    if k == 0:
        return Effect(NAME, middle)
    return Effect(NAME, middle, float(ordered[k - 1]), float(ordered[-k]))
