import numpy as np
import pytest

from tunescope.stats.finding import Effect
from tunescope.stats.head_relation import Overlap, Relation, over_runs, relation, top_overlap
from tunescope.stats.run_mean import run_mean


def test_known_by_hand():
    found = relation(np.array([[1.0, 2, 3, 4]]), np.array([[1.0, 3, 2, 4]]))
    assert found.heads == 4
    assert found.spearman is not None
    assert found.kendall is not None
    assert found.spearman.value == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert found.kendall.value == pytest.approx(4 / 6)
    assert [(each.k, each.share.value, each.expected) for each in found.overlap] == [(1, 1.0, 0.25)]


def test_the_top_is_a_quarter_and_ten_of_those_with_both_numbers():
    a = np.arange(50.0).reshape(5, 10)
    a[0] = np.nan
    found = relation(a, -a)
    assert found.heads == 40
    assert [each.k for each in found.overlap] == [10]
    a[0] = -1.0
    found = relation(a, a)
    assert [(each.k, each.share.value, each.expected) for each in found.overlap] == [
        (12, 1.0, 12 / 50),
        (10, 1.0, 0.2),
    ]
    assert [each.k for each in relation(a, a, tops=[3, 51]).overlap] == [3]
    assert relation(np.full((2, 2), np.nan), np.ones((2, 2))) == Relation(0, None, None, ())
    with pytest.raises(ValueError, match="one quantity is"):
        relation(a, a[:2])


def test_by_chance_the_overlap_is_k_over_heads():
    rng = np.random.default_rng(0)
    shares = [top_overlap(rng.normal(size=40), rng.normal(size=40), 10) for _ in range(2_000)]
    assert np.mean(shares) == pytest.approx(0.25, abs=0.01)


def test_over_runs_the_runs_are_the_replicates():
    def of(rho, share):
        overlap = (Overlap(3, Effect("top 3 in common", share), 0.25),)
        return Relation(12, Effect("rho", rho, rho - 0.01, rho + 0.01), None, overlap)

    found = over_runs([of(0.1, 0.0), of(0.2, 1.0), of(0.3, 1.0)])
    assert found.runs == 3
    assert found.spearman is not None
    half = 4.302652729911275 * 0.1 / np.sqrt(3)  # t of two degrees of freedom, from the tables
    assert (found.spearman.value, found.spearman.low, found.spearman.high) == pytest.approx(
        (0.2, 0.2 - half, 0.2 + half)
    )
    assert found.kendall is None
    share = found.overlap[0].share
    assert share.low is not None
    assert (share.value, share.low, share.high) == (pytest.approx(2 / 3), 0.0, 1.0)  # ends where shares end
    two = over_runs([of(0.1, 0.0), of(0.3, 1.0)])
    assert two.spearman is not None
    assert (two.spearman.value, two.spearman.low) == (pytest.approx(0.2), None)


def test_a_mean_over_runs_leaves_out_what_is_no_number():
    assert run_mean("x", [1.0, np.nan, 3.0]) == Effect("x", 2.0)
    assert run_mean("x", [np.nan]) is None
    assert run_mean("x", [2.0, 2.0, 2.0], unit="s") == Effect("x", 2.0, 2.0, 2.0, "s")
