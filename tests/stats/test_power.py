# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import FTestAnovaPower, TTestIndPower, TTestPower

from tunescope.stats import power


def test_t_tests_agree_with_statsmodels():
    for n1, n2 in ((5, 5), (4, 9), (30, 12)):
        d = power.two_groups(n1, n2).value
        found = TTestIndPower().power(d, nobs1=n1, alpha=0.05, ratio=n2 / n1)  # pyright: ignore[reportArgumentType]
        assert found == pytest.approx(0.8, abs=1e-8)
    for n in (5, 12):
        assert TTestPower().power(power.pairs(n).value, nobs=n, alpha=0.05) == pytest.approx(0.8, abs=1e-8)


def test_anova_agrees_with_statsmodels():
    for groups, n in ((3, 9), (4, 40)):
        f = power.several_groups(groups, n).value
        found = FTestAnovaPower().power(f, nobs=n, alpha=0.05, k_groups=groups)
        assert found == pytest.approx(0.8, abs=1e-8)


def test_three_runs_find_only_huge_effects_by_simulation():
    d = power.two_groups(3, 3).value
    rng = np.random.default_rng(0)
    a, b = rng.normal(d, 1, (20_000, 3)), rng.normal(0, 1, (20_000, 3))
    found = (stats.ttest_ind(a, b, axis=1).pvalue < 0.05).mean()
    assert found == pytest.approx(0.8, abs=0.01)


def test_correlation_by_hand():
    found = power.correlation(19)
    assert found is not None
    assert found.value == pytest.approx(math.tanh((1.959963984540054 + 0.8416212335729143) / 4), abs=1e-12)
    assert power.correlation(3) is None


def test_more_runs_find_smaller_effects():
    found = [power.pairs(n).value for n in (3, 4, 6, 10, 40)]
    assert found == sorted(found, reverse=True)
