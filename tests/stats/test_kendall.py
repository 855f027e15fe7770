# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
import itertools
import math

import numpy as np
import pytest
from scipy import stats

from tunescope.stats.kendall import kendall_interval, kendall_p, tau
from tunescope.stats.partial import Held

# Hollander & Wolfe (1973), Nonparametric Statistical Methods, p. 187: lightness and quality of canned tuna
LIGHTNESS = np.array([44.4, 45.9, 41.9, 53.3, 44.7, 44.1, 50.7, 45.2, 60.1])
QUALITY = np.array([2.6, 3.1, 2.5, 5.0, 3.6, 4.0, 5.2, 2.8, 3.8])


def held(x: np.ndarray, y: np.ndarray, cells: np.ndarray | None = None) -> Held:
    codes = np.zeros(len(x)) if cells is None else cells
    return Held(x, y, codes, codes)


def by_hand(x: np.ndarray, y: np.ndarray, cells: np.ndarray) -> tuple[int, float]:
    score, u, v = 0, 0, 0
    for i, j in itertools.combinations(range(len(x)), 2):
        if cells[i] == cells[j]:
            a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
            score, u, v = score + int(a * b), u + int(a != 0), v + int(b != 0)
    return score, math.sqrt(u * v)


def test_the_textbooks_tuna():
    tuna = held(LIGHTNESS, QUALITY)
    assert tau(tuna) == pytest.approx(16 / 36, abs=1e-8)
    p, least, every = kendall_p(tuna) or (0, 0, False)
    assert p == pytest.approx(stats.kendalltau(LIGHTNESS, QUALITY, method="exact").pvalue, abs=1e-8)
    assert p == pytest.approx(0.1194, abs=5e-5)
    assert (least, every) == (pytest.approx(2 / math.factorial(9), abs=1e-12), True)
    half = stats.norm.isf(0.025) * math.sqrt(0.437 / 5)
    wanted = np.tanh([math.atanh(4 / 9) - half, math.atanh(4 / 9) + half])
    assert kendall_interval(tuna) == pytest.approx(wanted, abs=1e-8)


@pytest.mark.parametrize("tied", ["nothing", "x", "y", "both"])
def test_within_cells_by_counting_every_order(tied):
    rng = np.random.default_rng(0)
    cells = np.array([0.0, 0, 0, 1, 1, 1, 1])
    x, y = rng.permutation(np.arange(7.0)), rng.permutation(np.arange(7.0))
    x = np.array([1.0, 1, 2, 5, 5, 6, 6]) if tied in ("x", "both") else x
    y = np.array([3.0, 1, 1, 2, 0, 0, 2]) if tied in ("y", "both") else y
    seen, length = by_hand(x, y, cells)
    scores = [
        by_hand(x, np.array(first + second), cells)[0]
        for first in itertools.permutations(y[:3])
        for second in itertools.permutations(y[3:])
    ]
    p, least, every = kendall_p(held(x, y, cells)) or (0, 0, False)
    assert tau(held(x, y, cells)) == pytest.approx(seen / length, abs=1e-8)
    assert p == pytest.approx(np.mean(np.abs(scores) >= abs(seen)), abs=1e-8)
    assert least == pytest.approx(np.mean(np.abs(scores) == np.abs(scores).max()), abs=1e-8)
    assert every


def test_many_runs_agree_with_scipy():
    rng = np.random.default_rng(1)
    x = rng.normal(size=60)
    y = 0.2 * x + rng.normal(size=60)
    p = kendall_p(held(x, y))
    assert p is not None
    assert p[0] == pytest.approx(stats.kendalltau(x, y, method="exact").pvalue, abs=1e-8)
    rough = held(np.round(x), np.round(y))
    found, wanted = kendall_p(rough), stats.kendalltau(np.round(x), np.round(y))
    assert tau(rough) == pytest.approx(wanted.statistic, abs=1e-8)
    assert found is not None
    assert found[0] == pytest.approx(wanted.pvalue, abs=0.01)
    assert found[1:] == (1e-4, False)
    assert kendall_p(rough) == found


def test_intervals_cover_where_nothing_goes_together():
    rng = np.random.default_rng(2)
    cells = np.repeat([0.0, 1.0], 6)
    ends = [kendall_interval(held(x, y, cells)) for x, y in rng.normal(size=(500, 2, 12))]
    assert np.mean([low <= 0 <= high for low, high in filter(None, ends)]) >= 0.93


def test_what_has_no_order():
    flat = held(np.ones(5), np.arange(5.0))
    assert (tau(flat), kendall_p(flat), kendall_interval(flat)) == (None, None, None)
    assert kendall_interval(held(np.arange(9.0), np.arange(9.0))) is None
    assert kendall_interval(held(np.arange(4.0), np.array([1.0, 0, 2, 3]))) is None
