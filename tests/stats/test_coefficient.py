# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
import numpy as np
import pytest
from scipy import stats

from tunescope.stats.coefficient import PEARSON, coefficient
from tunescope.stats.partial import Held

# Anscombe (1973), The American Statistician 27, the first set
X = np.array([10.0, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5])
Y = np.array([8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68])
ONE = np.zeros(11)


def test_anscombes_r():
    held = Held(X, Y, ONE, ONE)
    wanted = stats.pearsonr(X, Y)
    assert PEARSON.value(held) == pytest.approx(0.81642051634484, abs=1e-8)
    p, least, how = PEARSON.tested(held) or (0, 1, "")
    assert p == pytest.approx(wanted.pvalue, abs=1e-8)
    assert (least, how) == (0.0, "p from t with 9 degrees of freedom")
    assert PEARSON.ends(held) == pytest.approx((0.4243912, 0.9506933), abs=5e-8)  # cor.test in R


def test_what_is_held_costs_degrees_of_freedom():
    rng = np.random.default_rng(0)
    cells, z = np.repeat([0.0, 1.0], 8), rng.normal(size=16)
    x, y = z + cells + rng.normal(size=(2, 16))
    held = Held(x, y, np.zeros(16), cells, (z,))
    design = np.column_stack([cells == 0, cells == 1, z, x]).astype(float)
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    rest = y - design @ beta
    error = np.sqrt(rest @ rest / 12 * np.linalg.inv(design.T @ design)[3, 3])
    p, _, how = PEARSON.tested(held) or (0, 1, "")
    assert p == pytest.approx(2 * stats.t.sf(abs(beta[3] / error), 12), abs=1e-8)
    assert how == "p from t with 12 degrees of freedom"


def test_a_straight_line_is_perfect_and_so_few_runs_say_nothing():
    line = Held(X, 2 * X, ONE, ONE)
    assert PEARSON.value(line) == 1.0
    assert (PEARSON.tested(line) or (1,))[0] == 0.0
    assert PEARSON.ends(line) is None
    two = Held(X[:2], Y[:2], ONE[:2], ONE[:2])
    assert PEARSON.tested(two) is None


@pytest.mark.parametrize("asked", ["spearman", "kendall"])
def test_ranks_do_not_care_how_large_the_numbers_are(asked):
    kind = coefficient(asked)
    plain, bent = (Held(values, Y, ONE, ONE) for values in (X, np.exp(X)))
    assert kind.value(plain) == kind.value(bent)
    assert kind.tested(plain) == kind.tested(bent)
    wanted = {"spearman": stats.spearmanr, "kendall": stats.kendalltau}[asked](X, Y).statistic
    assert kind.value(plain) == pytest.approx(wanted, abs=1e-8)
