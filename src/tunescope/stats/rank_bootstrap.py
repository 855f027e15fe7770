"""Rank correlations of heads with bootstrap intervals, 10,000 resamples in a few matrix products."""

import warnings
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tunescope.stats.finding import Effect
from tunescope.stats.intervals import bca

Floats = NDArray[np.float64]
Counted = Callable[[Floats], Floats]  # how often each pair was drawn, [resamples, n] → the statistic of each

FEWEST_PAIRS = 4
REMEMBERED = 4_096  # pairs of quantities: files and figures of one study ask for the same ones
SPEARMAN, KENDALL = "Spearman's rho", "Kendall's tau-b"


def spearman_of(x: Floats, y: Floats) -> Effect | None:
    """Spearman's ρ with its BCa interval over pairs; ties get mean ranks.

    The pairs are drawn anew, both numbers together. The interval says how far ρ hangs on which pairs there
    happened to be: heads of one run are not replicates, so it says nothing of another seed.

    Args:
        x: [n], finite.
        y: [n], finite.

    Returns:
        None where one of the two does not vary. No interval below four pairs, for a perfect order, and where
        resamples leave nothing that varies.

    >>> found = spearman_of(np.arange(9.0), np.array([1.0, 0, 2, 4, 3, 5, 6, 8, 7]))
    >>> round(found.value, 4), found.low < found.value < found.high
    (0.95, True)
    """
    return _remembered(SPEARMAN, x.tobytes(), y.tobytes())


def kendall_of(x: Floats, y: Floats) -> Effect | None:
    """Kendall's τ-b with its BCa interval over pairs; see `spearman_of`.

    >>> found = kendall_of(np.arange(4.0), np.array([1.0, 0, 2, 3]))
    >>> round(found.value, 4)
    0.6667
    """
    return _remembered(KENDALL, x.tobytes(), y.tobytes())


@lru_cache(maxsize=REMEMBERED)
def _remembered(name: str, first: bytes, second: bytes) -> Effect | None:
    x, y = (np.frombuffer(each, np.float64) for each in (first, second))
    n = len(x)
    if n < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    counted = (_spearman if name == SPEARMAN else _kendall)(x, y)
    value = float(np.clip(counted(np.ones((1, n)))[0], -1, 1))
    if n < FEWEST_PAIRS or abs(value) > 1 - 1e-12:
        return Effect(name, value)

    def drawn(indices: Floats, axis: int) -> Floats:
        return counted(_times(np.moveaxis(indices, axis, -1), n))

    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        low, high = bca([np.arange(n, dtype=np.float64)], drawn)
    if not (np.isfinite(low) and np.isfinite(high)):
        return Effect(name, value)
    return Effect(name, value, max(low, -1.0), min(high, 1.0))


def _spearman(x: Floats, y: Floats) -> Counted:
    below = [(v[None, :] < v[:, None]) + (v[None, :] == v[:, None]) / 2 for v in (x, y)]

    def counted(times: Floats) -> Floats:
        centre = times.sum(-1, keepdims=True) / 2
        u, v = (times @ each.T - centre for each in below)
        return (times * u * v).sum(-1) / np.sqrt((times * u**2).sum(-1) * (times * v**2).sum(-1))

    return counted


def _kendall(x: Floats, y: Floats) -> Counted:
    agree = np.sign(x[:, None] - x[None, :]) * np.sign(y[:, None] - y[None, :])
    same = [
        None if len(np.unique(v)) == len(v) else (v[:, None] == np.unique(v)).astype(float) for v in (x, y)
    ]

    def untied(times: Floats, groups: Floats | None) -> Floats:
        """Pairs of drawn values that differ, in both orders."""
        sizes = times if groups is None else times @ groups
        return times.sum(-1) ** 2 - (sizes**2).sum(-1)

    def counted(times: Floats) -> Floats:
        u, v = (untied(times, groups) for groups in same)
        return (times @ agree * times).sum(-1) / np.sqrt(u * v)

    return counted


def _times(indices: Floats, n: int) -> Floats:
    """How often each of n stands in each row of indices."""
    rows = indices.reshape(-1, indices.shape[-1]).astype(np.int64)
    at = rows + n * np.arange(len(rows))[:, None]
    found = np.bincount(at.ravel(), minlength=n * len(rows)).astype(np.float64)
    return found.reshape(*indices.shape[:-1], n)
