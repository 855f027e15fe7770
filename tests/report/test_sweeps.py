import math

import pyarrow as pa
import pytest
from report import synthetic_moved as made_up
from report.records import records, rows

from tunescope.report import sweeps, theme
from tunescope.results.table import Table

SIZE = "mean |entropy change|, nats"


@pytest.fixture(scope="module")
def table():
    return made_up.table(made_up.study())


@pytest.fixture(scope="module")
def drawn(table):
    return dict(zip(sweeps.factors(table), sweeps.sweeps(table), strict=True))


def scales(chart):
    panels = chart.to_dict()["hconcat"]
    return {part["encoding"]["x"]["scale"].get("type") for panel in panels for part in panel["layer"]}


def test_each_factor_that_varies_has_a_row_of_quantities(drawn):
    assert list(drawn) == ["lr", "rank", "weight"]
    titles = [panel["title"] for panel in drawn["rank"].to_dict()["hconcat"]]
    assert titles == [
        "mean |entropy change|, nats",
        "test accuracy",
        "zero-shot kept",
        "accuracy under shift",
    ]
    assert scales(drawn["lr"]) == scales(drawn["rank"]) == scales(drawn["weight"]) == {"log"}


def test_dots_are_the_tables_numbers(table, drawn):
    (found,) = records(drawn["rank"])
    assert {record["group"] for record in found} == {"lora"}
    (dot,) = [record for record in found if record["run"] == "lora lr=0.0001 rank=8 seed=1"]
    magnitudes = [abs(row["value"]) for row in rows(table, "attention.entropy.change", run="run13")]
    (test,) = rows(table, "transfer.acc1", run="run13", split="test", component="trained")
    kept = [row["value"] for row in rows(table, "transfer.acc1.retention", run="run13")]
    assert dot["rank"] == 8.0
    assert dot[SIZE] == pytest.approx(math.fsum(magnitudes) / len(magnitudes), rel=5e-3)
    assert dot["test accuracy"] == pytest.approx(test["value"], rel=5e-3)
    assert dot["zero-shot kept"] == pytest.approx(math.fsum(kept) / 2, rel=5e-3)


def test_lines_join_runs_that_differ_in_nothing_else(drawn):
    (found,) = records(drawn["lr"])
    lines = {(record["line"], record["learning rate"]) for record in found}
    assert {line for line, _ in lines} >= {"full", "lora rank=4", "lora rank=8", "floor weight=0.1"}
    assert {rate for line, rate in lines if line == "full"} == {1e-5, 1e-4, 1e-3}


def test_zero_has_a_place_on_a_scale_of_decades(table):
    runs = [
        run | {"weight": 0.0 if run["weight"] == 0.01 else run["weight"]} for run in table.runs.to_pylist()
    ]
    row = sweeps.sweeps(Table(table.rows, pa.Table.from_pylist(runs, schema=table.runs.schema)))[2]
    x = row.to_dict()["hconcat"][0]["layer"][0]["encoding"]["x"]
    assert (x["scale"]["type"], x["scale"]["constant"], x["axis"]["values"]) == ("symlog", 0.05, [0, 0.1, 1])
    near = [run | {"weight": None if run["weight"] is None else 2 + run["weight"]} for run in runs]
    row = sweeps.sweeps(Table(table.rows, pa.Table.from_pylist(near, schema=table.runs.schema)))[2]
    assert scales(row) == {None}


def test_one_value_is_no_sweep_nor_are_many_groups_with_one_each():
    alone = made_up.table(made_up.study(runs={"full": {"adapt": "full", "lr": 1e-4}}))
    assert sweeps.sweeps(alone) == []
    rates = {f"way{i}": {"adapt": "full", "lr": 1e-5 * (i + 1)} for i in range(len(theme.COLOURS) + 1)}
    assert sweeps.sweeps(made_up.table(made_up.study(runs=rates))) == []
    rates.popitem()
    assert len(sweeps.sweeps(made_up.table(made_up.study(runs=rates)))) == 1
