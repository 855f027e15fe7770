import math

import numpy as np
import pytest
from scipy import stats

from tunescope.stats.resampled import bca_ends, resamples, rhos


def test_weighted_ranks_are_those_of_runs_that_stand_several_times():
    rng = np.random.default_rng(0)
    many = np.stack([rng.normal(size=12), np.round(rng.normal(size=12)), np.arange(12.0)])
    y = np.round(2 * rng.normal(size=12))
    times = resamples(np.zeros(12))[:40]
    found = rhos(many, y, times)
    for row, drawn in zip(found, times, strict=True):
        runs = np.repeat(np.arange(12), drawn.astype(int))
        for rho, x in zip(row, many, strict=True):
            u, v = (stats.rankdata(each[runs]) for each in (x, y))
            assert rho == pytest.approx(float(np.corrcoef(u, v)[0, 1]), abs=1e-9)
    assert (rhos(np.ones((1, 12)), y, times) == 0).all()


def test_each_stratum_is_drawn_from_apart():
    strata = np.array([0.0, 0, 0, 1, 1, 2])
    times = resamples(strata)
    assert times.shape == (10_000, 6)
    assert all((times[:, strata == code].sum(1) == size).all() for code, size in ((0, 2), (1, 1), (2, 1)))
    assert times.mean(0) == pytest.approx([2 / 3] * 3 + [1 / 2] * 2 + [1], abs=0.05)
    assert np.array_equal(resamples(strata), times)
    five = resamples(np.zeros(5))
    means = five @ (x := np.array([1.0, 2, 4, 8, 9])) / five.sum(1)
    assert means.var() == pytest.approx(x.var(ddof=1) / 5, rel=0.05)  # what a mean's own error is


def slow_ends(value, drawn, without, strata):
    share = sum((d < value) + (d <= value) for d in drawn) / (2 * len(drawn))
    bias = stats.norm.ppf(share)
    cubes = squares = 0.0
    for code in set(strata):
        own = [w for w, s in zip(without, strata, strict=True) if s == code]
        n = len(own)
        for one in own:
            u = (n - 1) * (sum(own) / n - one)
            cubes += u**3 / n**3
            squares += u**2 / n**2
    pull = cubes / (6 * squares**1.5)
    ends = []
    for z in (stats.norm.ppf(0.025), stats.norm.ppf(0.975)):
        at = stats.norm.cdf(bias + (bias + z) / (1 - pull * (bias + z)))
        place = at * (len(drawn) - 1)
        ordered, whole = sorted(drawn), math.floor(place)
        ends.append(ordered[whole] + (place - whole) * (ordered[whole + 1] - ordered[whole]))
    return ends


def test_the_ends_are_the_textbook_s():
    rng = np.random.default_rng(1)
    strata = np.repeat([0.0, 1.0], [9, 5])
    x = rng.exponential(size=14)
    drawn = resamples(strata)[:500] @ x / 14
    without = (x.sum() - x) / 13
    found = bca_ends(float(x.mean()), drawn, without, strata)
    assert found == pytest.approx(
        slow_ends(float(x.mean()), drawn.tolist(), without.tolist(), strata.tolist())
    )


def test_of_one_stratum_they_are_scipy_s():
    rng = np.random.default_rng(2)
    x = rng.normal(size=25)
    y = x + rng.normal(size=25)
    one = np.zeros(25)
    value = float(rhos(x[None], y, np.ones((1, 25)))[0, 0])
    drawn = rhos(x[None], y, resamples(one))[:, 0]
    without = rhos(x[None], y, 1 - np.eye(25))[:, 0]

    def spearman(a, b, axis):
        u, v = (stats.rankdata(each, axis=axis) - 13 for each in (a, b))
        return (u * v).sum(axis) / np.sqrt((u * u).sum(axis) * (v * v).sum(axis))

    theirs = stats.bootstrap((x, y), spearman, paired=True, n_resamples=4_000, rng=rng).confidence_interval
    assert bca_ends(value, drawn, without, one) == pytest.approx(list(theirs), abs=0.03)


def test_what_does_not_spread_has_no_interval():
    assert bca_ends(1.0, np.ones(100), np.ones(5), np.zeros(5)) is None
    assert bca_ends(2.0, np.arange(2.0), np.arange(5.0), np.zeros(5)) is None
