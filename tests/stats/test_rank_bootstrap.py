# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
import math

import numpy as np
import pytest
from scipy import stats

from tunescope.stats.rank_bootstrap import kendall_of, spearman_of


def slow_spearman(x, y):
    """Plain loops: mean ranks, then Pearson's r of them."""

    def ranks(values):
        return [1 + sum(b < a for b in values) + (sum(b == a for b in values) - 1) / 2 for a in values]

    u, v = ranks(x), ranks(y)
    mean_u, mean_v = sum(u) / len(u), sum(v) / len(v)
    together = sum((a - mean_u) * (b - mean_v) for a, b in zip(u, v, strict=True))
    return together / math.sqrt(sum((a - mean_u) ** 2 for a in u) * sum((b - mean_v) ** 2 for b in v))


def slow_kendall(x, y):
    """Plain loops over pairs: concordant − discordant, over the pairs without ties in each."""
    score = one = other = 0
    for i in range(len(x)):
        for j in range(i):
            a, b = (x[i] > x[j]) - (x[i] < x[j]), (y[i] > y[j]) - (y[i] < y[j])
            score, one, other = score + a * b, one + abs(a), other + abs(b)
    return score / math.sqrt(one * other)


PAIRS = [(spearman_of, slow_spearman), (kendall_of, slow_kendall)]


@pytest.mark.parametrize(("fast", "slow"), PAIRS)
def test_against_plain_loops_with_and_without_ties(fast, slow):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=9)
        y = rng.integers(0, 4, 9).astype(float) + (seed % 2) * x
        assert fast(x, y).value == pytest.approx(slow(x.tolist(), y.tolist()), abs=1e-12)


@pytest.mark.parametrize(("fast", "slow"), PAIRS)
def test_the_interval_is_efrons_bca_over_pairs(fast, slow):
    rng = np.random.default_rng(1)
    x = rng.normal(size=14)
    y = x + 0.8 * rng.normal(size=14)
    drawn = []
    for _ in range(10_000):
        at = rng.integers(0, 14, 14)
        drawn.append(slow(x[at].tolist(), y[at].tolist()))
    drawn = np.array(drawn)
    seen = slow(x.tolist(), y.tolist())
    z0 = stats.norm.ppf(((drawn < seen).mean() + (drawn <= seen).mean()) / 2)
    left = np.array([slow(np.delete(x, i).tolist(), np.delete(y, i).tolist()) for i in range(14)])
    bend = left.mean() - left
    a = (bend**3).sum() / (6 * (bend**2).sum() ** 1.5)
    shares = [stats.norm.cdf(z0 + (z0 + z) / (1 - a * (z0 + z))) for z in (-1.959964, 1.959964)]
    found = fast(x, y)
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, shares), abs=0.05)


def test_the_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(2)
    truth = 6 / math.pi * math.asin(0.6 / 2)  # Spearman's ρ of a normal pair with Pearson's r = 0.6
    hits = 0
    for _ in range(200):
        x = rng.normal(size=30)
        y = 0.6 * x + 0.8 * rng.normal(size=30)
        found = spearman_of(x, y)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= truth <= found.high
    assert 0.89 <= hits / 200 <= 0.99


@pytest.mark.parametrize("fast", [spearman_of, kendall_of])
def test_where_there_is_nothing_to_say_there_is_no_interval(fast):
    line = np.arange(6.0)
    assert fast(line, np.ones(6)) is None
    assert fast(line[:1], line[:1]) is None
    for x, y, value in ((line, line, 1), (line, -line, -1), (line[:3], np.array([0, 2, 1.0]), None)):
        found = fast(x, y)
        assert (found.low, found.high) == (None, None)
        assert value is None or found.value == value
    assert fast(np.array([0.0, 0, 0, 0, 0, 1]), line).low is None  # a resample without the last does not vary
