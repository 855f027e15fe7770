import math
from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from tunescope.stats.max_test import null, stepped_down
from tunescope.stats.partial import Held, permuted
from tunescope.stats.partial import rho as partial_rho


def held(y, cells=None, others=()):
    one = np.zeros(len(y))
    return Held(y, y, one, one if cells is None else np.asarray(cells, float), others)


def slow(many, y, cells, others):
    """Largest-statistic p of every number, by refitting every order within the cells with least squares."""
    n = len(y)
    design = np.column_stack(
        [*(cells == c for c in np.unique(cells)), *(stats.rankdata(o) for o in others)]
    ).astype(float)

    def rest(values):
        return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]

    u = [rest(stats.rankdata(x)) for x in many]
    v = rest(stats.rankdata(y))

    def sizes(left):
        again = rest(left)
        return [abs(float(each @ again)) / math.sqrt(each @ each * (again @ again)) for each in u]

    blocks = [np.flatnonzero(cells == c) for c in np.unique(cells)]
    by_chance = []
    for choice in product(*(permutations(block) for block in blocks)):
        order = np.arange(n)
        for block, chosen in zip(blocks, choice, strict=True):
            order[block] = chosen
        by_chance.append(sizes(v[order]))
    seen = sizes(v)
    p = []
    for value in seen:  # the largest of what is no larger, by chance; no p below that of a larger one
        among = [j for j in range(len(seen)) if seen[j] <= value + 1e-12]
        p.append(np.mean([max(row[j] for j in among) >= value - 1e-9 for row in by_chance]))
    return seen, [max(p[j] for j in range(len(seen)) if seen[j] >= value - 1e-12) for value in seen]


@pytest.mark.parametrize("fixed", ["nothing", "levels", "ranks"])
def test_every_order_is_counted_as_by_hand(fixed):
    rng = np.random.default_rng(5)
    y = rng.normal(size=6)
    many = np.stack([y + 0.5 * rng.normal(size=6), rng.normal(size=6), np.round(rng.normal(size=6))])
    cells = np.array([0, 0, 0, 1, 1, 1]) if fixed == "levels" else np.zeros(6)
    others = (rng.normal(size=6),) if fixed == "ranks" else ()
    rho, by_chance, all_orders = null(many, held(y, cells, others))
    assert all_orders
    assert by_chance.shape == (36 if fixed == "levels" else 720, 3)
    seen, p = slow(many, y, cells, others)
    assert np.abs(rho) == pytest.approx(seen, abs=1e-8)
    assert stepped_down(np.abs(rho), by_chance, all_orders) == pytest.approx(p, abs=1e-8)


def test_one_number_alone_has_the_p_of_its_correlation():
    rng = np.random.default_rng(6)
    x, y, z = rng.normal(size=(3, 15))
    for others in ((), (z,)):
        alone = Held(x, y, np.zeros(15), np.zeros(15), others)
        rho, by_chance, all_orders = null(x[None], alone)
        tested = permuted(alone)
        assert not all_orders
        assert tested is not None
        assert rho[0] == partial_rho(alone)
        assert stepped_down(np.abs(rho), by_chance, all_orders)[0] == pytest.approx(tested[0], abs=1e-12)


def test_the_largest_of_many_is_large_by_chance():
    rng = np.random.default_rng(7)
    many = rng.normal(size=(20, 30))
    y = rng.normal(size=30)
    rho, by_chance, all_orders = null(many, held(y))
    adjusted = stepped_down(np.abs(rho), by_chance, all_orders)
    raw = np.array([stepped_down(np.abs(rho[[i]]), by_chance[:, [i]], all_orders)[0] for i in range(20)])
    assert raw.min() < 0.05 < 0.1 < adjusted.min()
    assert (adjusted >= raw).all()


def test_what_leaves_nothing_to_compare_is_no_number_and_gets_p_1():
    y = np.array([1.0, 2.0, 4.0, 3.0])
    cells = [0, 0, 1, 1]
    rho, by_chance, all_orders = null(np.array([[1.0, 1.0, 2.0, 2.0], y]), held(y, cells))
    assert np.isnan(rho[0])
    assert rho[1] == 1
    assert stepped_down(np.abs(rho), by_chance, all_orders).tolist() == [1.0, 0.5]
