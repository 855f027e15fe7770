"""Training dynamics, held against the table by a slow reference."""

import json
import math

import pytest
from report import synthetic_looks
from report import synthetic_study as made_up
from report.records import records

from tunescope.report.dynamics import dynamics, dynamics_figures


@pytest.fixture(scope="module")
def looked(study):
    return synthetic_looks.table(study)


def test_lines_are_the_means_of_the_table(looked):
    chart, units = dynamics(looked)
    assert chart is not None
    assert units == ["each a run", "each a run"]
    names = {run["run"]: run["name"] for run in looked.runs.to_pylist()}
    cells = {}
    for row in looked.rows.to_pylist():
        if row["step"] is not None and row["metric"] in synthetic_looks.QUANTITIES:
            for layer in (row["layer"], None):
                key = (row["metric"].split(".")[1], names[row["run"]], layer, row["step"])
                cells.setdefault(key, []).append(row["value"])
    drawn = {}
    for record in records(chart)[0]:
        for name in ("gini", "entropy", "cka"):
            drawn[name, record["run"], record["layer"], record["step"]] = record[name]
    assert drawn.keys() == cells.keys()
    for key, values in cells.items():
        assert drawn[key] == pytest.approx(math.fsum(values) / len(values), rel=1e-3)
    assert {record["step"] for record in records(chart)[0]} == set(synthetic_looks.LOOKS)
    assert {record["seed"] for record in records(chart)[0]} == {0, 1, 2}
    again, _ = dynamics(looked)
    assert again is not None
    assert chart.to_dict() == again.to_dict()
    choices = [param["bind"]["options"] for param in chart.to_dict()["params"]]
    assert choices == [["entropy", "gini", "cka"], ["mean over layers", "layer 0", "layer 1", "layer 2"]]


def test_many_runs_are_drawn_in_little_room_and_what_is_left_out_is_said():
    runs = {f"g{i}": {"adapt": "full", "lr": [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3]} for i in range(11)}
    study = made_up.study(runs=runs)  # 198 runs
    many = synthetic_looks.table(study, looks=range(0, 60, 4), layers=8, heads=1)
    (figure,) = dynamics_figures(many)
    (chart,) = figure.draw(many)
    document = chart.to_dict()
    assert len(json.dumps(document["data"], separators=(",", ":"))) <= 120_000
    assert "For room, lines of single layers are each the mean of a group" in figure.caption
    steps = {record["step"] for record in records(chart)[0]}
    assert {0, 56} <= steps


def test_without_a_monitor_there_is_nothing(table):
    assert dynamics_figures(table) == ()
