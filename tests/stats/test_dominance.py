import numpy as np
import pytest
from scipy import stats

from tunescope.stats.dominance import dominance, dominance_paired


def variance(theta: float, m: int, n: int) -> float:
    """Hanley and McNeil's, with Newcombe's mean of the two sizes, as he writes it."""
    q1, q2, each = theta / (2 - theta), 2 * theta**2 / (1 + theta), (m + n) / 2
    return (theta * (1 - theta) + (each - 1) * (q1 - theta**2) + (each - 1) * (q2 - theta**2)) / (m * n)


@pytest.mark.parametrize(("m", "n", "shift"), [(3, 5, 0.0), (6, 6, 1.0), (10, 7, -1.0)])
def test_ends_solve_newcombes_equation(m, n, shift):
    rng = np.random.default_rng(m)
    found = dominance(rng.normal(shift, 1, m), rng.normal(0, 1, n))
    t = float(stats.t.isf(0.025, m + n - 2))
    assert found.low is not None
    assert found.high is not None
    assert -1 < found.low < found.value < found.high < 1
    for end in (found.low, found.high):
        theta, seen = (end + 1) / 2, (found.value + 1) / 2
        assert (theta - seen) ** 2 == pytest.approx(t**2 * variance(theta, m, n), abs=1e-10)


def test_groups_that_stand_apart_have_an_open_side():
    above = dominance(np.array([4.0, 5.0, 6.0, 7.0, 8.0]), np.arange(4.0))
    below = dominance(np.arange(4.0), np.array([4.0, 5.0, 6.0, 7.0, 8.0]))
    assert (above.value, above.high) == (1.0, 1.0)
    assert above.low is not None
    assert 0 < above.low < 0.5
    assert (below.value, below.low, below.high) == pytest.approx((-1.0, -1.0, -above.low), abs=1e-9)


@pytest.mark.parametrize("rises", range(8))
def test_pairs_have_clopper_and_pearsons_interval(rises):
    d = np.array([1.0] * rises + [-2.0] * (7 - rises))
    found = dominance_paired(d)
    wanted = stats.binomtest(rises, 7).proportion_ci(method="exact")
    ends = (2 * wanted.low - 1, 2 * wanted.high - 1)
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-8)
    assert found.value == pytest.approx((2 * rises - 7) / 7)


def test_a_pair_without_a_difference_stands_in_the_middle():
    found = dominance_paired(np.array([1.0, 0.0, -1.0]))
    assert found.value == 0
    assert found.low == pytest.approx(-(found.high or 0))
