"""The smallest effect that the runs at hand could have found, with 80 % power at α = .05, two-sided."""

import math
from collections.abc import Callable
from functools import lru_cache

from scipy import optimize, stats

from tunescope.stats.finding import Effect

ALPHA = 0.05
POWER = 0.80
LARGEST = 1e4


def two_groups(n1: float, n2: float) -> Effect:
    """Cohen's d that a t test of two independent groups finds four times in five.

    >>> round(two_groups(64, 64).value, 2), round(two_groups(3, 3).value, 2)
    (0.5, 3.07)
    """
    return Effect("Cohen's d", _smallest_t(math.sqrt(n1 * n2 / (n1 + n2)), n1 + n2 - 2))


def pairs(n: float) -> Effect:
    """Cohen's d of the paired differences that a paired t test finds four times in five.

    >>> round(pairs(34).value, 2)
    0.5
    """
    return Effect("Cohen's d of the pairs", _smallest_t(math.sqrt(n), n - 1))


@lru_cache
def several_groups(groups: int, n: float) -> Effect:
    """Cohen's f that a one-way ANOVA of `n` values in `groups` groups finds four times in five.

    >>> round(several_groups(3, 159).value, 2)
    0.25
    """
    critical = float(stats.f.isf(ALPHA, groups - 1, n - groups))
    return Effect(
        "Cohen's f", _smallest(lambda f: float(stats.ncf.sf(critical, groups - 1, n - groups, f * f * n)))
    )


def correlation(n: int, tests: int = 1) -> Effect | None:
    """|r| that a test of a correlation of `n` pairs finds four times in five (Fisher's z); None below four.

    Args:
        n: pairs of numbers.
        tests: correlations that are tested together, by Bonferroni's bound.

    >>> round(correlation(85).value, 2), round(correlation(85, 10).value, 2)
    (0.3, 0.38)
    """
    if n < 4:
        return None
    z = float(stats.norm.isf(ALPHA / tests / 2) + stats.norm.ppf(POWER))
    return Effect("correlation", math.tanh(z / math.sqrt(n - 3)))


@lru_cache  # a study's groups are of few sizes
def _smallest_t(per_d: float, df: float) -> float:
    critical = float(stats.t.isf(ALPHA / 2, df))

    def power(d: float) -> float:
        delta = d * per_d
        # the far tail is below Φ(−δ), and scipy's is not a number where it is far below that
        far = float(stats.nct.cdf(-critical, df, delta)) if delta < 6 else 0.0
        return float(stats.nct.sf(critical, df, delta)) + far

    return _smallest(power)


def _smallest(power: Callable[[float], float]) -> float:
    high = 1.0
    while power(high) < POWER and high < LARGEST:
        high *= 2
    return float(optimize.brentq(lambda x: power(x) - POWER, 1e-9, high, xtol=1e-12))  # pyright: ignore[reportArgumentType]
