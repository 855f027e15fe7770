"""Standardised effect sizes with intervals that come from the noncentral distributions themselves."""

import math
from collections.abc import Callable

import numpy as np
from scipy import optimize, stats
from scipy.special import gammaln, nctdtr  # stats.nct.cdf is the same, and takes thirty times as long

from tunescope.stats.finding import Effect
from tunescope.stats.intervals import LEVEL, Values, paired, variance

ASYMPTOTIC = 1_000.0  # beyond this t, Φ hardly matters beside χ; scipy's noncentral t fails near 1e5


def cohens_d(a: Values, b: Values) -> Effect | None:
    """Cohen's d = (mean(a) − mean(b)) / s, s the pooled standard deviation, with its noncentral-t interval.

    None where neither sample varies: the difference is then exact, and larger than any unit of spread.

    Source: Cohen (1988); Cumming & Finch (2001) for the interval.

    >>> d = cohens_d([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    >>> d.value, round(d.low, 3), round(d.high, 3)
    (-1.0, -2.684, 0.785)
    """
    x, y = np.asarray(a, float), np.asarray(b, float)
    df = x.size + y.size - 2
    pooled = ((x.size - 1) * variance(x) + (y.size - 1) * variance(y)) / df
    if pooled == 0:
        return None
    d = float(x.mean() - y.mean()) / math.sqrt(pooled)
    per_t = math.sqrt(1 / x.size + 1 / y.size)
    low, high = noncentral_t(d / per_t, df)
    return Effect("Cohen's d", d, low * per_t, high * per_t)


def hedges_g(a: Values, b: Values) -> Effect | None:
    """Hedges' g = J·d, d without its small-sample bias, J = Γ(m/2) / (√(m/2)·Γ((m−1)/2)), m = nₐ + n_b − 2.

    The interval is that of the effect itself, exact for normal samples of equal spread: J does not shrink it.

    Source: Hedges (1981), Journal of Educational Statistics 6.

    >>> round(hedges_g([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]).value, 4)
    -0.7979
    """
    return _unbiased(cohens_d(a, b), "Hedges' g", len(a) + len(b) - 2)


def hedges_g_paired(a: Values, b: Values) -> Effect | None:
    """Hedges' g of paired differences: J·mean(aᵢ − bᵢ)/s, s their standard deviation; None where that is 0.

    Its unit is the spread of the *differences*: not to be compared with the g of two independent groups.

    Source: Gibbons, Hedeker & Davis (1993), Journal of Educational Statistics 18.
    """
    difference, error, df = paired(a, b)
    if error == 0:
        return None
    low, high = noncentral_t(difference / error, df)
    root = math.sqrt(len(a))
    return _unbiased(
        Effect("", difference / error / root, low / root, high / root), "Hedges' g of the pairs", df
    )


def cliffs_delta(a: Values, b: Values) -> float:
    """Cliff's δ = P(a > b) − P(a < b) over all pairs; 1: every a above every b.

    Source: Cliff (1993), Psychological Bulletin 114.

    >>> cliffs_delta([3.0, 4.0], [1.0, 3.0])
    0.75
    """
    x, y = np.asarray(a, float), np.asarray(b, float)
    return float(np.sign(x[:, None] - y[None, :]).mean())


def omega_squared(f: float, df_between: float, df_within: float, n: int) -> Effect:
    """ω² = ν₁(F − 1) / (ν₁(F − 1) + N), the share of variance between groups; interval λ/(λ + N).

    Args:
        f: F statistic (Welch's, or the classical one).
        df_between: ν₁.
        df_within: ν₂.
        n: number of values in all groups, N.

    Source: Hays (1963); Steiger (2004), Psychological Methods 9, for the noncentral-F interval of λ.

    >>> round(omega_squared(5.0, 2, 9, 12).value, 3)
    0.4
    """

    def cdf(noncentrality: float) -> float:
        return float(stats.ncf.cdf(f, df_between, df_within, noncentrality))

    gain = df_between * (f - 1)
    wide = 4 * (f + 10) * (df_between + 10)
    low, high = (_solve_falling(cdf, share, 0.0, wide) for share in ((1 + LEVEL) / 2, (1 - LEVEL) / 2))
    return Effect("omega squared", max(0.0, gain / (gain + n)), low / (low + n), high / (high + n))


def noncentral_t(t: float, df: float) -> tuple[float, float]:
    """95 % interval of the noncentrality of a t statistic: where t is the 97.5 % and the 2.5 % point.

    >>> [round(end, 3) for end in noncentral_t(0.0, 10)]
    [-1.96, 1.96]
    """
    if t < 0:
        low, high = noncentral_t(-t, df)
        return -high, -low

    def solve(share: float) -> float:
        limit = t * math.sqrt(float(stats.chi2.isf(share, df)) / df)
        if t > ASYMPTOTIC:
            return limit - ((df - 1) / limit - limit * df / t**2) / 2  # Φ's width, to first order
        # t·χ/√ν passes `limit` with this share; the normal part moves the solution by less than 6
        return _solve_falling(lambda delta: float(nctdtr(df, delta, t)), share, limit - 6, limit + 6)

    return solve((1 + LEVEL) / 2), solve((1 - LEVEL) / 2)


def _solve_falling(cdf: Callable[[float], float], share: float, low: float, high: float) -> float:
    """Where a falling function passes `share`; `low` if it starts below it."""
    if cdf(low) <= share:
        return low
    while cdf(high) > share:
        high *= 2
    return float(optimize.brentq(lambda x: cdf(x) - share, low, high, xtol=1e-12, rtol=1e-14))  # pyright: ignore[reportArgumentType]


def _unbiased(d: Effect | None, name: str, df: float) -> Effect | None:
    if d is None:
        return None
    # with one degree of freedom Γ(0) is infinite and J is 0: nothing is known about the spread
    j = math.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / math.sqrt(df / 2) if df > 1 else 0.0
    return Effect(name, j * d.value, d.low, d.high)
