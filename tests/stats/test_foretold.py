# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from tunescope.stats.foretold import by_ranks, by_the_others


def slow_guess(x, y, new):
    """Iman and Conover's rank regression, one value at a time."""
    n = len(x)
    rank_x, rank_y = (stats.rankdata(each) for each in (x, y))
    slope, cut = np.polyfit(rank_x, rank_y, 1)

    def between(value, places, values):
        known = sorted(set(zip(places, values, strict=True)))
        if value <= known[0][0]:
            return known[0][1]
        for (a, at_a), (b, at_b) in pairwise(known):
            if value <= b:
                return at_a + (value - a) / (b - a) * (at_b - at_a)
        return known[-1][1]

    assert cut + slope * (n + 1) / 2 == pytest.approx((n + 1) / 2)
    return [between(cut + slope * between(one, x, rank_x), rank_y, y) for one in new]


def test_rank_regression_as_by_hand():
    rng = np.random.default_rng(0)
    x = np.exp(rng.normal(size=15)).round(1)
    y = np.log(x) + 0.5 * rng.normal(size=15).round(1)
    new = np.concatenate([[0.0, 99.0], x[:3], rng.uniform(0.2, 4, 5)])
    assert by_ranks(x, y, new) == pytest.approx(slow_guess(x, y, new), abs=1e-8)
    assert by_ranks(np.ones(4), np.array([1.0, 2, 3, 4]), np.array([7.0])).tolist() == [2.5]


def test_each_group_is_foretold_by_the_others_alone():
    rng = np.random.default_rng(1)
    groups = np.repeat(["a", "b", "c"], [4, 5, 6])
    x = rng.normal(size=15)
    y = -3 * x + 0.3 * rng.normal(size=15)
    found = by_the_others(x, y, groups.tolist())
    guesses, means = np.empty(15), np.empty(15)
    for name in "abc":
        mine = groups == name
        guesses[mine] = slow_guess(x[~mine], y[~mine], x[mine])
        means[mine] = y[~mine].mean()
    assert found is not None
    assert found.values == pytest.approx(guesses, abs=1e-8)
    assert found.skill == pytest.approx(1 - sum((y - guesses) ** 2) / sum((y - means) ** 2), abs=1e-8)
    assert found.skill is not None
    assert found.skill > 0.8
    assert found.ordered == pytest.approx(stats.spearmanr(guesses, y).statistic, abs=1e-8)
    assert found.error == pytest.approx(np.abs(y - guesses).mean(), abs=1e-8)


def test_a_number_that_means_something_else_in_each_group_foretells_worse_than_the_mean():
    x = np.concatenate([np.arange(6.0), np.arange(6.0) + 10])
    y = np.concatenate([np.arange(6.0), -np.arange(6.0)])
    found = by_the_others(x, y, ["a"] * 6 + ["b"] * 6)
    assert found is not None
    assert found.skill is not None
    assert found.skill < -0.2


def test_where_nobody_is_left_nothing_is_foretold():
    three = np.arange(3.0)
    assert by_the_others(three, three, ["a"] * 3) is None
    assert by_the_others(three, three, ["a", "a", "b"]) is None
    same = by_the_others(np.arange(8.0), np.array([1.0, 2, 1, 2, 1, 2, 1, 2]) * 0 + 5, ["a"] * 4 + ["b"] * 4)
    assert same is not None
    assert (same.skill, same.ordered, same.error) == (None, None, 0.0)
