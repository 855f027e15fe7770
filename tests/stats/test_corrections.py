import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from tunescope.stats.corrections import holm


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
