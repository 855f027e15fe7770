"""Cliff's δ with intervals that stay honest where one group is above the other in every run."""

import numpy as np
from scipy import optimize, stats

from tunescope.stats.effects import cliffs_delta
from tunescope.stats.finding import Effect
from tunescope.stats.intervals import LEVEL, Floats


def dominance(a: Floats, b: Floats) -> Effect:
    """Cliff's δ = P(a > b) − P(a < b), with Newcombe's score interval (his method 5) of θ = (δ + 1)/2.

    Its ends solve (θ − θ̂)² = t²·V(θ), V(θ) = θ(1 − θ)·(1 + N·(1 − θ)/(2 − θ) + N·θ/(1 + θ))/(mn),
    N = (m + n)/2 − 1: V is that of Hanley and McNeil, and is not 0 where θ̂ is 1. t has m + n − 2 degrees of
    freedom, as Cliff has it; with Newcombe's normal quantile three against three runs are covered too seldom.

    Args:
        a: values of the first group, of shape (m,).
        b: values of the second group, of shape (n,).

    Source: Cliff (1993), Psychological Bulletin 114; Newcombe (2006), Statistics in Medicine 25, 559–573.

    >>> found = dominance(np.array([4.0, 5.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    >>> found.value, round(found.low, 3), found.high
    (1.0, -0.327, 1.0)
    """
    delta = cliffs_delta(a, b)
    seen, more = (delta + 1) / 2, (len(a) + len(b)) / 2 - 1
    t = float(stats.t.isf((1 - LEVEL) / 2, len(a) + len(b) - 2))

    def beyond(theta: float) -> float:
        share = 1 + more * (1 - theta) / (2 - theta) + more * theta / (1 + theta)
        return (theta - seen) ** 2 - t * t * theta * (1 - theta) * share / (len(a) * len(b))

    def end(outer: float) -> float:
        if seen == outer:
            return outer
        inner = abs(seen - 1e-9) if outer == 0 else min(seen + 1e-9, 1.0)
        return float(optimize.brentq(beyond, min(outer, inner), max(outer, inner), xtol=1e-13))  # pyright: ignore[reportArgumentType]

    return Effect("Cliff's delta", delta, 2 * end(0.0) - 1, 2 * end(1.0) - 1)


def dominance_paired(d: Floats) -> Effect:
    """δ of the pairs = (how many of them rise − how many fall)/n, with Clopper and Pearson's exact interval.

    A pair without a difference counts as half a rise and half a fall.

    Args:
        d: paired differences, of shape (n,).

    Source: Cliff (1993), Psychological Bulletin 114 (d_w); Clopper & Pearson (1934), Biometrika 26.

    >>> found = dominance_paired(np.array([1.0, 2.0, 3.0, -1.0]))
    >>> found.value, round(found.low, 3), round(found.high, 3)
    (0.5, -0.612, 0.987)
    """
    n = len(d)
    delta = float(np.sign(d).mean())
    rises = n * (delta + 1) / 2
    tail = (1 - LEVEL) / 2
    low = float(stats.beta.ppf(tail, rises, n - rises + 1)) if delta > -1 else 0.0
    high = float(stats.beta.isf(tail, rises + 1, n - rises)) if delta < 1 else 1.0
    return Effect("Cliff's delta of the pairs", delta, 2 * low - 1, 2 * high - 1)
