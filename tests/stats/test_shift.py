# pyright: reportAttributeAccessIssue=false, reportOptionalOperand=false, reportOperatorIssue=false
# SciPy ships no types: its named results are taken for plain tuples
import itertools

import numpy as np
import pytest
from scipy import stats

from tunescope.stats import shift as module
from tunescope.stats.shift import mann_whitney_null, shift, shift_paired, signed_rank_null

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("m", "n"), [(1, 4), (3, 3), (5, 4), (2, 7)])
def test_null_of_u_by_counting(m, n):
    counts = np.zeros(m * n + 1)
    for ranks in itertools.combinations(range(m + n), m):
        counts[sum(ranks) - m * (m - 1) // 2] += 1
    assert mann_whitney_null(m, n) == pytest.approx(counts / counts.sum(), abs=1e-12)


def test_null_of_w_by_counting():
    counts = np.zeros(22)
    for signs in itertools.product((0, 1), repeat=6):
        counts[np.dot(signs, range(1, 7))] += 1
    assert signed_rank_null(6) == pytest.approx(counts / 64, abs=1e-12)


@pytest.mark.parametrize(("m", "n"), [(4, 4), (5, 8), (12, 9)])
def test_interval_holds_what_the_exact_test_would_not_reject(m, n):
    a, b = RNG.normal(1, 1, m), RNG.normal(0, 1, n)
    found = shift(a, b)
    assert found.value == pytest.approx(np.median([x - y for x in a for y in b]))
    for end, outwards in ((found.low, -1e-9), (found.high, 1e-9)):
        inside = stats.mannwhitneyu(a - end + outwards, b, method="exact").pvalue
        outside = stats.mannwhitneyu(a - end - outwards, b, method="exact").pvalue
        assert outside <= 0.05 < inside


def test_interval_of_pairs_holds_what_wilcoxon_would_not_reject():
    d = RNG.normal(0.5, 1, 11)
    found = shift_paired(d)
    for end, outwards in ((found.low, -1e-9), (found.high, 1e-9)):
        inside, outside = (stats.wilcoxon(d - end + side).pvalue for side in (outwards, -outwards))
        assert outside <= 0.05 < inside


def test_too_few_runs_have_no_interval():
    assert shift(np.array([4.0, 5.0, 6.0]), np.array([1.0, 2.0, 3.0])).low is None
    assert shift_paired(np.array([1.0, 2.0, 3.0, 4.0, 5.0])).low is None
    assert shift_paired(np.arange(1.0, 7.0)).low == 1.0


def test_beyond_a_hundred_values_the_normal_curve_finds_the_same_interval(monkeypatch):
    a, b = RNG.normal(0.3, 1, 100), RNG.normal(0, 1, 90)
    d = RNG.normal(0.3, 1, 100)
    exact = shift(a, b), shift_paired(d)
    monkeypatch.setattr(module, "EXACT_UP_TO", 89)
    for known, found in zip(exact, (shift(a, b), shift_paired(d)), strict=True):
        assert found.value == known.value
        assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=0.002)
