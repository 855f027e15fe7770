# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
import itertools
import math

import numpy as np
import pytest
from scipy import stats

from tunescope.stats import partial
from tunescope.stats.intervals import RESAMPLES, spearman_interval
from tunescope.stats.partial import Held


def held(x, y, cells=None, others=(), strata=None) -> Held:
    one = np.zeros(len(x))
    cells = one if cells is None else np.asarray(cells, float)
    strata = one if strata is None else np.asarray(strata, float)
    return Held(np.asarray(x, float), np.asarray(y, float), strata, cells, tuple(map(np.asarray, others)))


def left(values: np.ndarray, design: np.ndarray) -> np.ndarray:
    """What a least-squares fit on the design's columns leaves of the values."""
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


def cosine(u: np.ndarray, v: np.ndarray) -> float:
    return float(u @ v / math.sqrt((u @ u) * (v @ v)))


def columns(cells, *ranks) -> np.ndarray:
    return np.column_stack([*(np.equal(cells, cell).astype(float) for cell in np.unique(cells)), *ranks])


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_with_nothing_held_it_is_spearmans(rng):
    x, y = rng.integers(0, 5, (2, 14)).astype(float)  # with ties
    assert partial.rho(held(x, y)) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-8)


def test_one_factor_by_ranks_is_the_textbooks_formula(rng):
    x, y, z = rng.normal(size=(3, 15)) + rng.normal(size=15)
    xy, xz, yz = (stats.spearmanr(a, b).statistic for a, b in ((x, y), (x, z), (y, z)))
    wanted = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
    assert partial.rho(held(x, y, others=(z,))) == pytest.approx(wanted, abs=1e-8)


def test_cells_factors_and_strata_are_what_least_squares_takes_out(rng):
    cells = np.repeat([0, 1, 2, 3], 4)
    strata = cells // 2
    x, y, z, w = rng.normal(size=(4, 16)) + cells
    w = np.round(w)

    def ranks(values: np.ndarray) -> np.ndarray:
        return np.concatenate([stats.rankdata(values[strata == s]) / 9 for s in (0, 1)])

    design = columns(cells, ranks(z), ranks(w))
    wanted = cosine(left(ranks(x), design), left(ranks(y), design))
    assert partial.rho(held(x, y, cells, (z, w), strata)) == pytest.approx(wanted, abs=1e-8)
    doubled = held(x, y, cells, (z, w, z), strata)  # the same factor twice takes nothing more out
    assert partial.rho(doubled) == pytest.approx(wanted, abs=1e-8)


def test_cells_alone_are_permuted_exactly(rng):
    cells = np.repeat([0, 1, 2], 3)
    x, y = rng.normal(size=(2, 9)) + cells
    rx, ry = (left(stats.rankdata(v), columns(cells)) for v in (x, y))
    null = [
        cosine(np.concatenate([rx[:3][list(a)], rx[3:6][list(b)], rx[6:][list(c)]]), ry)
        for a, b, c in itertools.product(itertools.permutations(range(3)), repeat=3)
    ]
    wanted = np.mean(np.abs(null) >= abs(cosine(rx, ry)) - 1e-9)
    reachable = np.mean(np.abs(null) >= np.abs(null).max() - 1e-9)
    assert partial.permuted(held(x, y, cells)) == pytest.approx((wanted, reachable), abs=1e-8)


def test_what_a_factor_leaves_is_permuted_and_taken_out_again(rng):
    x, y, z = rng.normal(size=(3, 6)) + 2 * rng.normal(size=6)
    design = columns(np.zeros(6), stats.rankdata(z))
    rx, ry = (left(stats.rankdata(v), design) for v in (x, y))
    null = [cosine(rx, left(ry[list(order)], design)) for order in itertools.permutations(range(6))]
    found = partial.permuted(held(x, y, others=(z,)))
    assert found is not None
    assert found[0] == pytest.approx(np.mean(np.abs(null) >= abs(cosine(rx, ry)) - 1e-9), abs=1e-8)


def test_many_runs_agree_with_the_t_approximation_of_a_partial_correlation(rng):
    x, y, z = rng.normal(size=(3, 60)) + rng.normal(size=60)
    found = held(x, y, others=(z,))
    rho, p = partial.rho(found), partial.permuted(found)
    assert rho is not None
    assert p is not None
    t = rho * math.sqrt(57 / (1 - rho**2))
    assert p[0] == pytest.approx(2 * stats.t.sf(abs(t), 57), abs=0.01)
    assert p[1] == 1e-4
    assert partial.permuted(found) == p


def test_the_interval_is_scipys_over_whole_runs(rng):
    x, y, z = rng.normal(size=(3, 12)) + rng.normal(size=12)

    def statistic(i: np.ndarray) -> float:
        found = partial.rho(held(x[i], y[i], others=(z[i],)))
        return 0.0 if found is None else found

    wanted = stats.bootstrap(
        (np.arange(12),), statistic, n_resamples=400, vectorized=False, rng=np.random.default_rng(0)
    ).confidence_interval
    found = partial.interval(held(x, y, others=(z,)))
    assert found == pytest.approx(wanted, abs=0.08)  # 400 against 10,000 resamples
    assert RESAMPLES == 10_000
    assert partial.interval(held(x, y, others=(z,))) == found


def test_small_cells_have_an_interval_of_the_runs_that_they_leave(rng):
    cells = np.repeat([0, 1, 2, 3], 3)
    x, y = rng.normal(size=(2, 12))
    found = held(x, y, cells)
    assert found.effective == 9
    rho = partial.rho(found)
    assert rho is not None
    assert partial.interval(found) == spearman_interval(rho, 9)


def test_where_nothing_remains_there_is_no_number():
    x = np.arange(6.0)
    assert partial.rho(held(x, x, cells=x)) is None
    assert partial.permuted(held(x, x, others=(x,))) is None
    assert partial.interval(held(x, x)) is None  # a perfect order says nothing about its own error
    assert partial.interval(held([1, 2, 3], [1, 3, 2])) is None


def driven(rng: np.random.Generator, cells: np.ndarray, rho: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers that their cells drive in opposite ways, correlated within them."""
    shared, own = rng.normal(size=(2, len(cells)))
    return cells + shared, rho * shared + math.sqrt(1 - rho**2) * own - cells


def test_null_studies_are_rejected_no_more_than_promised():
    """What drives both numbers is held fixed, by its values or by its ranks."""
    rng = np.random.default_rng(0)
    cells, factor = np.repeat([0, 1, 2, 3], 3), np.linspace(0, 3, 12)
    rejected = np.zeros((400, 4))
    for study in range(400):
        by_value, by_rank = driven(rng, cells), driven(rng, factor)
        found = (
            partial.permuted(held(*by_value, cells=cells)),
            partial.permuted(held(*by_rank, others=(factor,))),
            partial.permuted(held(*rng.normal(size=(2, 12)))),
            partial.permuted(held(*by_value)),
        )
        rejected[study] = [p is not None and p[0] < 0.05 for p in found]
    *promised, confounded = rejected.mean(0)
    assert max(promised) <= 0.06
    assert min(promised) >= 0.02
    assert confounded > 0.3


@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_intervals_cover_in_small_cells(rho):
    rng = np.random.default_rng(1)
    cells = np.repeat(np.arange(5), 3)
    truth = partial.rho(held(*driven(rng, np.repeat(np.arange(5), 4000), rho), np.repeat(np.arange(5), 4000)))
    assert truth is not None
    covered = []
    for _ in range(300):
        ends = partial.interval(held(*driven(rng, cells, rho), cells=cells))
        covered.append(ends is None or ends[0] <= truth <= ends[1])
    assert np.mean(covered) >= 0.93


def test_resampled_intervals_cover():
    rng = np.random.default_rng(2)
    truth = 6 / math.pi * math.asin(0.25)  # Spearman's rho of a normal pair correlated by 0.5
    covered = []
    for _ in range(60):
        ends = partial.interval(held(*driven(rng, np.zeros(12), 0.5)))
        covered.append(ends is not None and ends[0] <= truth <= ends[1])
    assert np.mean(covered) >= 0.93
