import math

import numpy as np
import pytest
from report import synthetic_study as made_up
from report.records import records, rows

from tunescope.report import charts, frames, theme
from tunescope.report.figures import FIGURES


def test_trade_off_pairs_test_accuracy_with_retention(table):
    (chart,) = charts.trade_off(table)
    dots = next(found for found in records(chart) if "rank" in found[0])
    assert len(dots) == 19
    (accuracy,) = rows(table, "transfer.acc1", run="run04", split="test", component="trained")
    (kept,) = rows(table, "transfer.acc1.retention", run="run04")
    dot = next(record for record in dots if record["run"] == "full lr=0.0001 seed=1")
    assert (dot["x"], dot["y"]) == (accuracy["value"], kept["value"])
    ranks = {record["lr"]: record["rank"] for record in dots}
    assert ranks == {1e-5: 0.0, 1e-4: 0.25, 1e-3: 0.5, 5e-3: 0.75, 1e-2: 1.0}


def test_training_curves_are_thinned_and_keep_their_mean(table):
    loss, accuracy = charts.training(table)
    found = [record for record in records(loss)[0] if record["run"] == "lora lr=0.001 seed=0"]
    assert [record["step"] for record in found] == list(range(1, 46))
    assert {record["step"] for record in records(accuracy)[0]} == {15, 30, 45}
    curve = [(step, math.sin(step)) for step in range(1, 1001)]
    thinned = charts.thin(curve)
    assert len(thinned) <= charts.POINTS_AT_MOST
    assert thinned[-1][0] == 1000
    sizes = np.diff([0, *(step for step, _ in thinned)])
    assert np.dot(sizes, [value for _, value in thinned]) == pytest.approx(sum(v for _, v in curve), abs=1e-9)


def test_a_group_has_one_colour_in_every_chart(table):
    found: dict[str, set[str]] = {}

    def walk(node):
        if isinstance(node, dict):
            if node.get("field") == "group" and node.get("scale", {}).get("range", [""])[0].startswith("#"):
                for group, colour in zip(node["scale"]["domain"], node["scale"]["range"], strict=True):
                    found.setdefault(group, set()).add(colour)
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    for figure in FIGURES:
        for chart in figure.draw(table):
            walk(chart.to_dict())
    assert found.keys() == set(frames.groups(table))
    assert all(len(colours) == 1 for colours in found.values())
    assert len(set.union(*found.values())) == len(found)


def test_a_run_in_two_groups_is_drawn_in_both():
    study = made_up.study(
        runs={"a": {"adapt": "full", "lr": [1e-4, 1e-3]}, "b": {"adapt": "full", "lr": 1e-4}}, seeds=[0]
    )
    table = made_up.table(study)
    shared = table.runs.to_pylist()
    shared[2]["run"] = shared[0]["run"]
    table = made_up.Table(table.rows, made_up.pa.Table.from_pylist(shared, schema=table.runs.schema))
    (chart,) = charts.trade_off(table)
    drawn = {
        record["run"]: record["x"] for record in next(found for found in records(chart) if "rank" in found[0])
    }
    assert drawn["a lr=0.0001 seed=0"] == drawn["b lr=0.0001 seed=0"]


def test_more_groups_than_colours_are_named_in_the_chart_and_have_no_legend():
    crowd = {f"way {i}": {"adapt": "full", "lr": 1e-4} for i in range(len(theme.COLOURS) + 1)}
    table = made_up.table(made_up.study(runs=crowd))
    (chart,) = charts.trade_off(table)
    layers = chart.to_dict()["layer"]
    assert [layer["encoding"]["text"]["field"] for layer in layers if layer["mark"]["type"] == "text"][
        -1
    ] == "group"
    assert all(
        layer["encoding"]["color"]["legend"] is None for layer in layers if "color" in layer["encoding"]
    )
    few = made_up.table(made_up.study(runs=dict(list(crowd.items())[:-1])))
    assert not any(
        "legend" in layer["encoding"].get("color", {})
        for layer in charts.trade_off(few)[0].to_dict()["layer"]
    )
