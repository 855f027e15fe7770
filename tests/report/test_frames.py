import math

import pyarrow as pa
import pytest
from report import synthetic_study as made_up

from tunescope.report import frames
from tunescope.results.row import Row, rows_table
from tunescope.results.table import Table


def test_read_is_the_mean_over_what_is_not_named(table):
    found = frames.read(table, "attention.entropy", {"split": "pro*"}, by=("run", "layer"))
    sums: dict[tuple, list[float]] = {}
    for row in table.rows.to_pylist():
        if row["metric"] == "attention.entropy":
            sums.setdefault((row["run"], row["layer"]), []).append(row["value"])
    assert {(r["run"], r["layer"]): r["value"] for r in found} == pytest.approx(
        {key: math.fsum(values) / len(values) for key, values in sums.items()}
    )


def test_magnitude_is_the_mean_of_absolute_values(table):
    signed = rows_table("run00", [Row("x.y", -2.0, layer=0), Row("x.y", 1.0, layer=1)])
    mixed = Table(signed, table.runs)
    assert frames.per_run(mixed, "x.y") == {"run00": -0.5}
    assert frames.per_run(mixed, "x.y", magnitude=True) == {"run00": 1.5}


def test_empty_columns_and_values_that_are_no_numbers_do_not_pass(table):
    rows = [Row("x.y", 1.0, split="a"), Row("x.y", 3.0), Row("x.z", math.nan), Row("x.w", math.inf)]
    mixed = Table(rows_table("run00", rows), table.runs)
    assert frames.per_run(mixed, "x.y", {"split": "*"}) == {"run00": 1.0}
    assert frames.per_run(mixed, "x.y") == {"run00": 2.0}
    assert frames.read(mixed, "x.z") == frames.read(mixed, "x.w") == frames.read(mixed, "unknown") == []


def test_runs_that_did_not_end_well_bring_no_numbers(table):
    rows = rows_table("run08", [Row("training.loss", 1.0, step=1)])
    assert frames.per_run(Table(rows, table.runs), "training.loss") == {}


def test_runs_go_by_group_and_learning_rate(study):
    listed = made_up.table(study)
    back = Table(listed.rows, listed.runs.take(pa.array(list(range(listed.runs.num_rows))[::-1])))
    assert frames.groups(back) == ["floor", "probe", "lora", "full"]
    assert [run.lr for run in frames.runs(back) if run.group == "full"] == [1e-5] * 3 + [1e-4] * 3 + [
        1e-3
    ] * 3


def test_a_learning_rate_is_a_positive_number():
    run = frames.Run("a", "g", "g", "done", "", {"lr": "high"})
    assert run.lr is None
    assert frames.Run("a", "g", "g", "done", "", {}).lr is None
