# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# SciPy ships no types: its named results are taken for plain tuples
import numpy as np
import pytest
from scipy import stats

from tunescope.stats.anova import by_anova
from tunescope.stats.claim import Claim
from tunescope.stats.finding import GroupSummary

CLAIM = Claim("m differs", 0, "")
# NIST StRD, one-way analysis of variance, SiRstv: resistivity of silicon by five instruments
SIRSTV = {
    "1": [196.3052, 196.1240, 196.1890, 196.2569, 196.3403],
    "2": [196.3042, 196.3825, 196.1669, 196.3257, 196.0422],
    "3": [196.1303, 196.2005, 196.2889, 196.0343, 196.1811],
    "4": [196.2795, 196.1748, 196.1494, 196.1485, 195.9885],
    "5": [196.2119, 196.1051, 196.1850, 196.0052, 196.2090],
}
CERTIFIED_F, CERTIFIED_WITHIN = 1.18046237440255, 1.08318280000000e-02
# Dobson (1983), An Introduction to Statistical Modelling, table 7.1; R's PlantGrowth
PLANTS = {
    "ctrl": [4.17, 5.58, 5.18, 6.11, 4.50, 4.61, 5.17, 4.53, 5.33, 5.14],
    "trt1": [4.81, 4.17, 4.41, 3.59, 5.87, 3.83, 6.03, 4.89, 4.32, 4.69],
    "trt2": [6.31, 5.12, 5.54, 5.50, 5.37, 5.29, 4.92, 6.15, 5.80, 5.26],
}


def groups(values: dict[str, list[float]]) -> list[GroupSummary]:
    return [
        GroupSummary(
            name, len(v), float(np.mean(v)), None, None, tuple(v), ({},) * len(v), tuple(map(str, v)), {}
        )
        for name, v in values.items()
    ]


def test_the_certified_values_of_nist():
    found = by_anova(groups(SIRSTV), CLAIM)
    assert found.p == pytest.approx(stats.f.sf(CERTIFIED_F, 4, 20), abs=1e-8)
    gain = 4 * (CERTIFIED_F - 1)
    assert found.standardised.value == pytest.approx(gain / (gain + 25), abs=1e-8)
    # Tukey's interval of equal groups: q·√(MS/n) on both sides
    half = stats.studentized_range.isf(0.05, 5, 20) * np.sqrt(CERTIFIED_WITHIN / 5)
    assert found.effect.name == "difference 2 − 5"
    means = {name: np.mean(values) for name, values in SIRSTV.items()}
    middle = means["2"] - means["5"]
    assert found.effect.value == pytest.approx(middle, abs=1e-8)
    assert (found.effect.low, found.effect.high) == pytest.approx((middle - half, middle + half), abs=1e-6)
    first = found.pairs[0]
    t = abs(means["1"] - means["2"]) / np.sqrt(CERTIFIED_WITHIN * 2 / 5)
    assert first.p_corrected == pytest.approx(stats.studentized_range.sf(t * np.sqrt(2), 5, 20), abs=1e-8)
    assert (found.test, found.detectable.name) == ("analysis of variance", "Cohen's f")


def test_plants_as_published_by_r():
    found = by_anova(groups(PLANTS), CLAIM)
    assert found.p == pytest.approx(0.01590996, abs=1e-8)
    # TukeyHSD(aov(weight ~ group, PlantGrowth)), whose differences are the other way round
    wanted = {
        ("ctrl", "trt1"): (0.371, -0.3202161, 1.0622161, 0.3908711),
        ("ctrl", "trt2"): (-0.494, -1.1852161, 0.1972161, 0.1979960),
        ("trt1", "trt2"): (-0.865, -1.5562161, -0.1737839, 0.0120064),
    }
    for pair in found.pairs:
        told = (pair.difference.value, pair.difference.low, pair.difference.high, pair.p_corrected)
        assert told == pytest.approx(wanted[pair.first, pair.second], abs=2e-7)
        alone = stats.ttest_ind(PLANTS[pair.first], PLANTS[pair.second])
        assert pair.p == pytest.approx(alone.pvalue, abs=1e-8)
    assert found.effect.name == "difference trt2 − trt1"
    assert found.ranking == ("trt2", "ctrl", "trt1")


def test_a_group_without_spread_shares_that_of_the_others():
    still = {"a": [1.0] * 3, "b": [1.0, 2.0, 3.0], "c": [4.0] * 3}
    found = by_anova(groups(still), CLAIM)
    assert found.p == pytest.approx(stats.f_oneway(*still.values()).pvalue, abs=1e-8)
    assert [pair.p is None for pair in found.pairs] == [False, True, False]
    none = by_anova(groups({"a": [1.0] * 3, "b": [2.0] * 3, "c": [2.0] * 3}), CLAIM)
    assert (none.p, "nothing to test" in none.warnings[0]) == (None, True)
