"""Equivalence to within a share of a mean that is itself uncertain: the ratio of two means.

±10 % of the second group's mean is no known number: with other seeds it would be another. So the ends of the
margin are hypotheses about both means, μ₁ = (1 ∓ m)·μ₂, each tested by the contrast x̄₁ − (1 ∓ m)·x̄₂ with its
own error.

Source: Sasabuchi (1980), Biometrika 67; Hauschke, Kieser, Diletti & Burke (1999), Statistics in Medicine 18;
with unequal spreads Tamhane & Logan (2004), Journal of Biopharmaceutical Statistics 14; for the interval
Fieller (1954), JRSS B 16.
"""

from collections.abc import Callable

import numpy as np
from scipy import optimize, stats

from tunescope.stats.finding import Effect
from tunescope.stats.intervals import Floats, paired, welch

Contrast = tuple[float, float, float]  # estimate, its standard error, degrees of freedom
CLEAR, FOUND = 0.05, 0.80
WIDEST = 1e6


def contrast(a: Floats, b: Floats, ratio: float, together: bool) -> Contrast:
    """x̄₁ − ratio·x̄₂ with its error: Welch and Satterthwaite's, or that of the pairs aᵢ − ratio·bᵢ."""
    return paired(a, ratio * b) if together else welch(a, ratio * b)


def within_share(a: Floats, b: Floats, share: float, together: bool) -> tuple[float, float] | None:
    """The p of "|μ₁ − μ₂| is below share·|μ₂|", and that of "it is above", two-sided.

    Below: both ends refuted, each one-sided, which shows the sign of μ₂ as well. Above: for either sign of μ₂
    one end is overstepped, twice the smaller p. None where a contrast does not vary.

    Args:
        a: values of the first group.
        b: values of the second.
        share: m, such as 0.1.
        together: whether aᵢ and bᵢ are partners.

    >>> a, b = np.array([0.98, 1.01, 1.0, 1.03]), np.array([1.0, 0.99, 1.02, 1.01])
    >>> [round(p, 4) for p in within_share(a, b, 0.1, together=False)]
    [0.0003, 1.0]
    """
    ends = [contrast(a, b, 1 + side * share, together) for side in (-1, 1)]
    if any(error == 0 for _, error, _ in ends):
        return None
    under, over = ([float(tail(d / e, df)) for d, e, df in ends] for tail in (stats.t.cdf, stats.t.sf))
    below = max(over[0], under[1]) if b.mean() >= 0 else max(over[1], under[0])
    above = max(min(under[0], over[1]), min(under[1], over[0]))
    return below, min(1.0, 2 * above)


def ratio_interval(a: Floats, b: Floats, level: float, together: bool) -> Effect:
    """x̄₁/x̄₂ and the ratios that the contrast does not refute; without ends where x̄₂ may be 0.

    >>> found = ratio_interval(np.array([2.0, 2.2, 1.8]), np.array([1.0, 1.1, 0.9]), 0.9, together=False)
    >>> round(found.value, 4), round(found.low, 2), round(found.high, 2)
    (2.0, 1.68, 2.39)
    """
    value = float(a.mean() / b.mean())

    def beyond(ratio: float) -> float:
        difference, error, df = contrast(a, b, ratio, together)
        return abs(difference) - error * float(stats.t.ppf((1 + level) / 2, df))

    _, error, df = paired(b, np.zeros_like(b))
    if abs(float(b.mean())) <= error * float(stats.t.ppf((1 + level) / 2, df)):
        return Effect("ratio of the means", value)
    low, high = (_end(beyond, value, side) for side in (-1, 1))
    return Effect("ratio of the means", value, low, high)


def smallest_share(a: Floats, b: Floats, together: bool) -> Effect | None:
    """The smallest margin in per cent within which equal means would be found four times in five."""

    def short(share: float) -> float:
        _, error, df = contrast(a, b, 1 + share, together)
        return error * float(stats.t.isf(CLEAR, df) + stats.t.isf((1 - FOUND) / 2, df)) - share * abs(
            float(b.mean())
        )

    if short(1.0) > 0:
        return None
    return Effect("margin", 100 * float(optimize.brentq(short, 0.0, 1.0)), unit="%")  # pyright: ignore[reportArgumentType]


def _end(beyond: Callable[[float], float], value: float, side: int) -> float | None:
    step = 0.01 * max(abs(value), 1.0)
    while beyond(value + side * step) < 0:
        step *= 2
        if step > WIDEST:
            return None
    return float(optimize.brentq(beyond, value, value + side * step, xtol=1e-12))  # pyright: ignore[reportArgumentType]
