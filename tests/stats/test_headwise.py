import math

import numpy as np
import planted_heads as planted
import pytest
from scipy import stats as scipy_stats

from tunescope.errors import TableError
from tunescope.results.row import Row
from tunescope.stats.headwise import headwise


def test_every_row_stands_where_it_belongs():
    found = headwise(planted.table())
    assert [(run.name, run.component) for run in found[:4]] == [
        ("full lr=0.0001 seed=0", "trained"),
        ("full lr=0.0001 seed=0", "text"),
        ("full lr=0.0001 seed=1", "trained"),
        ("full lr=0.0001 seed=1", "text"),
    ]
    assert len(found) == 12
    run = found[2]
    assert (run.group, run.setting, run.tower, run.seed, run.shape) == (
        "full",
        "full lr=0.0001",
        "vision",
        1,
        planted.SHAPE,
    )
    for layer, head in np.ndindex(planted.SHAPE):  # the planted numbers, one by one
        matters, moved = planted.importance("full", 1)[layer, head], planted.update("full", 1)[layer, head]
        assert run.values["importance_pre"][layer, head] == matters
        assert run.values["importance"][layer, head] == matters + 0.001  # not the one at a point of a curve
        assert run.values["update_relative"][layer, head] == moved  # not those at steps
        assert run.values["update_relative.v"][layer, head] == 2 * moved
        assert run.values["importance.change"][layer, head] == pytest.approx(0.001)
    assert "importance.base" not in run.values
    assert (run.before, found[3].before) == ("importance_pre", "importance.base")


def test_intervals_are_students_over_examples_where_the_rows_say_how_many():
    run = headwise(planted.table())[0]
    half = scipy_stats.t.ppf(0.975, planted.EXAMPLES - 1) * 0.01 / math.sqrt(planted.EXAMPLES)
    value = run.values["importance"][2, 1]
    assert run.intervals["importance"][2, 1] == pytest.approx([value - half, value + half], abs=1e-12)
    assert "update" not in run.intervals


def test_the_order_of_the_rows_changes_nothing():
    made = planted.table()
    for one, other in zip(headwise(made), headwise(planted.shuffled(made)), strict=True):
        assert (one.run, one.tower, one.component) == (other.run, other.tower, other.component)
        assert one.values.keys() == other.values.keys()
        for name, values in one.values.items():
            np.testing.assert_array_equal(values, other.values[name])


def test_failed_runs_holes_a_pooling_head_and_updates_alone(make_table):
    def row(metric, value, layer, head, **more):
        return Row(metric, value, "vision", layer, head, **more)._asdict()

    rows = [row("heads.importance", 1.0, 0, 1, component="trained", split="val")]
    rows += [row("heads.importance", 2.0, 0, 1, component="trained", split="shift:x")]
    rows += [row("heads.update", 3.0, layer, 0, component="all") for layer in (0, 1, 2)]
    alone = [row("heads.update", 4.0, 0, 0, component="all"), row("heads.update", 5.0, 0, 0, component="q")]
    broken = [row("heads.update", 4.0, 10**9, 0, component="all")]
    failed = {"group": "c", "status": "failed", "cause": "diverged", "rows": rows}
    first, second = headwise(
        make_table([{"group": "a", "rows": rows}, {"group": "b", "rows": alone}, failed])
    )
    assert first.shape == (3, 2)
    np.testing.assert_array_equal(first.values["update"], [[3, np.nan], [3, np.nan], [3, np.nan]])
    np.testing.assert_array_equal(first.values["importance"], [[np.nan, 2], [np.nan] * 2, [np.nan] * 2])
    assert (second.component, second.before, second.seed) == ("", None, None)
    assert {name: values.tolist() for name, values in second.values.items()} == {
        "update": [[4.0]],
        "update.q": [[5.0]],
    }
    assert headwise(make_table([{"group": "a", "rows": [{"metric": "transfer.acc1", "value": 1.0}]}])) == []
    with pytest.raises(TableError, match="layer 1000000000"):
        headwise(make_table([{"group": "a", "rows": broken}]))
