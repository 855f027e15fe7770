import math

import numpy as np
import pytest
from report import synthetic_moved as made_up
from report.records import records, rows
from scipy import stats

from tunescope.report import by_layer, layer_lines
from tunescope.report.moved_figures import layer_figures
from tunescope.results.table import Table

SIZE, SIGNED = "mean |entropy change|, nats", "entropy change, nats"


@pytest.fixture(scope="module")
def table():
    return made_up.table(made_up.study())


def split(chart):
    """The records of means and those of single runs."""
    found = [of for of in records(chart) if "still" not in of[0]]
    means = next(of for of in found if "runs" in of[0])
    runs = [one for of in found if "run" in of[0] for one in of]
    return means, runs


def only(found, **wanted):
    (record,) = [r for r in found if all(r.get(key) == value for key, value in wanted.items())]
    return record


def test_means_and_intervals_are_over_runs(table):
    (chart,) = by_layer.by_layer(table)
    means, runs = split(chart)
    names = [f"lora rank=8 seed={seed}" for seed in range(3)]
    assert {run["run"] for run in runs} >= {f"lora lr=0.0001 {name.removeprefix('lora ')}" for name in names}
    ids = ["run12", "run13", "run14"]
    own = [[row["value"] for row in rows(table, "attention.entropy.change", run=run, layer=2)] for run in ids]
    sizes = [math.fsum(map(abs, heads)) / len(heads) for heads in own]
    mean = only(means, line="lora rank=8", layer=2)
    half = stats.t.ppf(0.975, 2) * np.std(sizes, ddof=1) / math.sqrt(3)
    assert mean[SIZE] == pytest.approx(np.mean(sizes), rel=5e-3)
    assert mean[f"{SIZE}, ±"] == pytest.approx(half, rel=5e-3)
    band = chart.to_dict()["layer"][-2]["layer"][0]["transform"][-2]
    assert (band["as"], '|entropy change|, nats": 0.0' in band["calculate"]) == ("low", True)
    assert mean[SIGNED] == pytest.approx(np.mean(own), rel=5e-3)
    one = only(runs, run="lora lr=0.0001 rank=8 seed=1", layer=2)
    assert one[SIZE] == pytest.approx(sizes[1], rel=5e-3)
    assert (one["group"], mean["runs"]) == ("lora", 3)


def test_a_group_stands_at_the_rate_that_answers_choose(table):
    found = {line.runs[0].setting: line.best for line in by_layer.lines(table)}
    assert found["full lr=0.0001"]  # validation accuracy is highest there
    assert not any("lr=1e-05" in setting or "lr=0.001" in setting for setting in found)  # of no other group
    (chart,) = by_layer.by_layer(table)
    assert [param["name"] for param in chart.to_dict()["params"]] == ["measure"]


def test_rates_that_two_groups_share_can_be_selected():
    of = {"full": {"adapt": "full", "lr": [1e-4, 1e-3]}, "last": {"adapt": "layernorm", "lr": [1e-4, 1e-3]}}
    (chart,) = by_layer.by_layer(made_up.table(made_up.study(runs=of)))
    params = {param["name"]: param for param in chart.to_dict()["params"]}
    assert params["rate"]["bind"]["options"] == ["best", "0.0001", "0.001"]
    means, _ = split(chart)
    assert {(m["line"], m["lr"], m["best"]) for m in means} == {
        ("full", "0.0001", True),
        ("last", "0.0001", True),
        ("full", "0.001", False),
        ("last", "0.001", False),
    }


def test_data_is_a_choice_where_it_varies():
    of = {"full": {"adapt": "full", "lr": 1e-4, "task": {"data": ["a", "b"]}}}
    (chart,) = by_layer.by_layer(made_up.table(made_up.study(runs=of)))
    params = {param["name"]: param for param in chart.to_dict()["params"]}
    assert params["data"]["bind"]["options"] == ["a", "b"]
    assert {mean["line"] for mean in split(chart)[0]} == {"full"}


def test_towers_stand_apart(table):
    both = table.rows.to_pylist()
    both += [row | {"tower": "text"} for row in both if row["tower"] == "vision"]
    found = Table(table.rows.from_pylist(both, schema=table.rows.schema), table.runs)
    titles = [chart.to_dict()["title"]["text"]["expr"] for chart in by_layer.by_layer(found)]
    assert titles == ['measure + ", vision tower"', 'measure + ", text tower"']


def test_of_more_lines_than_colours_two_groups_stand_out_and_room_is_kept(monkeypatch):
    crowd = {f"way{i}": {"adapt": "full", "lr": 1e-4} for i in range(by_layer.LINES_AT_MOST + 4)}
    table = made_up.table(made_up.study(runs=crowd))
    monkeypatch.setattr(by_layer, "NUMBERS_AT_MOST", 300)
    (chart,) = by_layer.by_layer(table)
    means, runs = split(chart)
    assert len({mean["line"] for mean in means}) == by_layer.LINES_AT_MOST
    assert {key for run in runs for key in run} & {SIZE, SIGNED} == {SIZE}  # room for one measure's runs
    document = chart.to_dict()
    params = {param["name"]: param.get("value") for param in document["params"]}
    assert (params["first"], params["second"]) == ("way0", "way1")
    assert [part["mark"]["type"] for part in document["layer"] if "mark" in part][-1] == "text"
    (figure,) = layer_figures(table)
    assert figure.caption.endswith("Left out for room: 4 of 28 settings; the table has them all.")


def test_names_keep_apart_and_in_order():
    values = [0.3, 0.1, None, 0.11, 0.12, 5.0]
    places = layer_lines.spread(values, 0.2)
    known = [(value, place) for value, place in zip(values, places, strict=True) if value is not None]
    by_value = [place for _, place in sorted(known) if place is not None]
    assert places[2] is None
    assert min(np.diff(by_value)) >= 0.2 - 1e-3
    assert np.mean(by_value[:4]) == pytest.approx(np.mean([0.1, 0.11, 0.12, 0.3]), abs=1e-3)
    assert places[5] == 5.0


def test_nothing_that_moved_is_no_chart(table):
    kept = [metric.startswith("transfer") for metric in table.rows["metric"].to_pylist()]
    assert layer_figures(Table(table.rows.filter(kept), table.runs)) == ()
