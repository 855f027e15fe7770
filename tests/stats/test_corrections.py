import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from tunescope.stats.corrections import benjamini_hochberg, corrected, holm


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_by_hand_keeps_order_and_stays_below_one(p: list[float]):
    found = holm(p)
    worst = 0.0
    wanted = [0.0] * len(p)
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        worst = max(worst, min(1.0, (len(p) - rank) * p[i]))
        wanted[i] = worst
    assert found == pytest.approx(wanted, abs=1e-12)
    assert all(before <= after <= 1 for before, after in zip(p, found, strict=True))


def test_holm_agrees_with_statsmodels():
    p = np.random.default_rng(0).uniform(0, 0.2, 20).round(2).tolist()
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-12)


def test_holm_on_holms_own_example():
    assert holm([0.01, 0.005, 0.04, 0.03]) == pytest.approx([0.03, 0.02, 0.06, 0.06])


def test_nothing_to_correct():
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_benjamini_hochberg_agrees_with_scipy_and_statsmodels(p: list[float]):
    found = benjamini_hochberg(p)
    assert found == pytest.approx(stats.false_discovery_control(p), abs=1e-12)
    assert all(one <= two + 1e-12 for one, two in zip(found, holm(p), strict=True))
    assert all(before <= after <= 1 for before, after in zip(p, found, strict=True))


def test_benjamini_hochberg_on_their_own_example():
    """Table of 15 tests of section 4: four are rejected at .05, where Bonferroni rejects three."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.324]
    p += [0.4262, 0.5719, 0.6528, 0.759, 1.0]
    found = corrected(p, "benjamini_hochberg")
    assert found == pytest.approx(multipletests(p, method="fdr_bh")[1], abs=1e-12)
    assert [value < 0.05 for value in found].count(True) == 4
    assert [value < 0.05 for value in corrected(p, "holm")].count(True) == 3
    assert benjamini_hochberg([]) == []
