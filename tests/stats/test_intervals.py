# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from tunescope.stats.intervals import (
    bca,
    mean_interval,
    paired_difference,
    pearson_interval,
    spearman_interval,
    variance,
    welch,
    welch_difference,
)

# Student's sleep data (1908): extra hours of sleep of ten patients under two drugs
DRUG_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
DRUG_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_welch_on_the_sleep_data_as_printed_in_textbooks():
    difference, error, df = welch(DRUG_1, DRUG_2)
    assert difference / error == pytest.approx(-1.8608, abs=5e-5)
    assert df == pytest.approx(17.776, abs=5e-4)
    found = welch_difference(DRUG_1, DRUG_2)
    assert (found.low, found.high) == pytest.approx((-3.365483, 0.205483), abs=5e-7)


def test_paired_on_the_sleep_data_as_printed_in_textbooks():
    found = paired_difference(DRUG_1, DRUG_2)
    assert (found.value, found.low, found.high) == pytest.approx((-1.58, -2.459886, -0.700114), abs=5e-7)


def test_intervals_agree_with_scipy_and_statsmodels():
    rng = np.random.default_rng(1)
    for n1, n2 in ((3, 3), (4, 9), (20, 5)):
        a, b = rng.normal(1, 3, n1), rng.normal(0, 1, n2)
        found = welch_difference(a, b)
        scipys = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
        assert (found.low, found.high) == pytest.approx((scipys.low, scipys.high), abs=1e-8)
        models = CompareMeans(DescrStatsW(a), DescrStatsW(b)).tconfint_diff(usevar="unequal")
        assert (found.low, found.high) == pytest.approx(models, abs=1e-8)
        assert mean_interval(a) == pytest.approx(DescrStatsW(a).tconfint_mean(), abs=1e-8)
        found = paired_difference(a[:3], b[:3])
        scipys = stats.ttest_rel(a[:3], b[:3]).confidence_interval()
        assert (found.low, found.high) == pytest.approx((scipys.low, scipys.high), abs=1e-8)


def test_correlation_intervals_agree_with_scipy_and_the_formula():
    rng = np.random.default_rng(2)
    for n in (5, 12, 60):
        x = rng.normal(size=n)
        y = x + rng.normal(size=n)
        found = stats.pearsonr(x, y)
        wanted = found.confidence_interval()
        assert pearson_interval(found.statistic, n) == pytest.approx((wanted.low, wanted.high), abs=1e-8)
        rho = stats.spearmanr(x, y).statistic
        z = 0.5 * math.log((1 + rho) / (1 - rho))
        half = 1.959963984540054 * math.sqrt((1 + rho * rho / 2) / (n - 3))
        ends = [(math.exp(2 * e) - 1) / (math.exp(2 * e) + 1) for e in (z - half, z + half)]
        assert spearman_interval(rho, n) == pytest.approx(ends, abs=1e-8)


def test_a_perfect_order_and_three_pairs_have_no_interval():
    assert spearman_interval(1.0, 20) is None
    assert pearson_interval(-1.0, 20) is None
    assert spearman_interval(0.3, 3) is None


def test_rounding_is_no_variation():
    assert variance([0.3, 0.1 + 0.2, 0.3]) == 0
    assert variance([0.3, 0.3 + 1e-9]) > 0
    found = paired_difference([0.3, 0.2, 0.5], [0.2, 0.1, 0.4])
    assert found.low == found.high == pytest.approx(0.1)
    found = welch_difference([1.0, 1.0], [0.5, 0.5])
    assert (found.low, found.high) == (0.5, 0.5)
    assert mean_interval([2.0]) is None


def test_welch_has_no_scale():
    _, error, df = welch(DRUG_1, DRUG_2)
    _, scaled_error, scaled_df = welch(np.array(DRUG_1) * 1e120, np.array(DRUG_2) * 1e120)
    assert (scaled_error / 1e120, scaled_df) == pytest.approx((error, df), rel=1e-12)


def test_welch_interval_covers_the_truth_95_times_in_100():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(2_000):
        found = welch_difference(rng.normal(1, 3, 5), rng.normal(0, 1, 8))
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 1 <= found.high
    assert 0.93 <= hits / 2_000 <= 0.97


def test_bca_against_efrons_formula_by_hand():
    x = np.random.default_rng(4).lognormal(size=30)
    rng = np.random.default_rng(5)
    means = np.sort([x[rng.integers(0, 30, 30)].mean() for _ in range(20_000)])
    z0 = stats.norm.ppf((means < x.mean()).mean())
    left = np.array([np.delete(x, i).mean() for i in range(30)])
    bend = left.mean() - left
    a = (bend**3).sum() / (6 * (bend**2).sum() ** 1.5)
    ends = []
    for z in (-1.959964, 1.959964):
        ends.append(np.quantile(means, stats.norm.cdf(z0 + (z0 + z) / (1 - a * (z0 + z)))))
    assert bca([x], np.mean) == pytest.approx(ends, rel=0.02)
    plain = np.quantile(means, [0.025, 0.975])
    assert ends[1] > plain[1] * 1.03  # the skew is there to be corrected


def test_bca_is_seeded():
    x = np.random.default_rng(6).normal(size=9)
    assert bca([x], np.mean) == bca([x], np.mean)
    assert bca([x], np.mean) != bca([x], np.mean, seed=1)
