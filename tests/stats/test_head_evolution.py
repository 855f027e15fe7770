import numpy as np
import planted_heads as planted
import pyarrow.compute as pc
import pytest

from tunescope.results.row import Row
from tunescope.results.table import Table
from tunescope.stats.head_evolution import early, early_over_runs, evolutions


def test_early_against_late_by_hand():
    found = evolutions(planted.shuffled(planted.table()))
    assert [each.name for each in found[:2]] == ["full lr=0.0001 seed=0", "full lr=0.0001 seed=1"]
    run = found[1]
    assert (run.steps, run.length, run.values.shape) == ((10, 20, 30), 36, (3, *planted.SHAPE))
    moved = planted.update("full", 1)
    np.testing.assert_allclose(run.values[1], moved / 2)
    np.testing.assert_array_equal(run.final, moved)
    np.testing.assert_allclose(run.by_layer[2], moved.mean(1) * 3 / 4)
    np.testing.assert_allclose(run.projections["v"], 2 * moved.mean() * np.array([10, 20, 30]) / 40)
    first = early(run)
    assert first is not None
    assert first.step == 10  # of 36: the last look within 12
    assert first.share.value == pytest.approx(0.25)
    assert first.relation.spearman is not None
    assert first.relation.spearman.value == pytest.approx(1.0)
    assert [overlap.share.value for overlap in first.relation.overlap] == [1.0, 1.0]
    together = early_over_runs([own for each in found[:3] if (own := early(each)) is not None])
    assert together is not None
    assert (together.runs, together.share.value) == (3, pytest.approx(0.25))
    assert together.share.low == pytest.approx(0.25)


def of(make_table, rows):
    facts = [row._asdict() for row in rows]
    return evolutions(make_table([{"group": "a", "rows": facts}]))


def update(value, head=0, step=None, component="all"):
    return Row("heads.update_relative", value, "vision", 0, head, component, step=step)


def test_what_followed_the_tuning_is_not_its_end(make_table):
    rows = [update(0.1, step=5), update(0.4, step=15), update(0.2)]
    assert of(make_table, rows)[0].final.tolist() == [[0.2]]
    after = [*rows, Row("after.alpha", 0.5)]
    assert of(make_table, after)[0].final.tolist() == [[0.4]]
    assert of(make_table, rows[:2])[0].final.tolist() == [[0.4]]  # nothing was measured at the end


def test_no_look_within_the_first_third_and_heads_that_never_moved(make_table):
    late = of(make_table, [update(0.1, step=6), update(0.2, step=15)])[0]
    assert (late.length, early(late)) == (15, None)
    still = of(make_table, [update(0.0, step=3), update(0.0, step=15)])[0]
    assert early(still) is None
    assert early_over_runs([]) is None
    half = of(make_table, [update(0.1, step=3), update(0.2, step=9), update(0.4, head=1, step=9)])[0]
    np.testing.assert_array_equal(half.values[0], [[0.1, np.nan]])
    first = early(half)
    assert first is not None
    assert first.share.value == pytest.approx(0.5)  # of the heads that were looked at both times


def test_a_table_without_looks_has_no_evolution():
    made = planted.table()
    kept = made.rows.filter(pc.field("step").is_null())
    assert evolutions(Table(kept, made.runs)) == []
