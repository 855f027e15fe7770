"""What each way of tuning costs, drawn from a table that was made up."""

import pytest
from report import synthetic_study as made_up
from report.records import records

from tunescope.report.cost import cost


def test_every_run_stands_once_in_every_panel_with_its_own_number(table):
    (chart,) = cost(table)
    titles = [panel["title"] for panel in chart.to_dict()["hconcat"]]
    assert titles[0] == "test accuracy"
    assert titles[1].startswith("trained share")
    panels = records(chart)
    assert [len(panel) for panel in panels] == [19] * 4
    own = {row["run"]: row["value"] for row in table.rows.to_pylist() if row["metric"] == "training.memory"}
    ids = {run["name"]: run["run"] for run in table.runs.to_pylist()}
    assert {record["run"]: record["value"] for record in panels[2]} == pytest.approx(
        {name: own[id] for name, id in ids.items() if id in own}
    )


def test_the_best_at_the_task_comes_first(table):
    (chart,) = cost(table)
    means: dict[str, list[float]] = {}
    for record in records(chart)[0]:
        means.setdefault(record["group"], []).append(record["value"])
    order = chart.to_dict()["hconcat"][0]["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert order == sorted(means, key=lambda group: -sum(means[group]) / len(means[group]))


def test_one_group_has_nothing_to_stand_beside():
    assert cost(made_up.table(made_up.study(runs={"full": {"adapt": "full", "lr": 1e-4}}))) == []


def test_numbers_are_ranked_by_their_correlation(table):
    numbers = made_up.of_numbers(table)
    (chart,) = cost(numbers)
    panels = chart.to_dict()["hconcat"]
    assert [panel["title"] for panel in panels] == [
        "test Spearman correlation",
        "trained share",
        "memory, MiB",
        "seconds",
    ]
    assert (
        panels[0]["layer"][0]["encoding"]["y"]["scale"]["domain"]
        == (cost(table)[0].to_dict()["hconcat"][0]["layer"][0]["encoding"]["y"]["scale"]["domain"])
    )
    assert [len(panel) for panel in records(chart)] == [19] * 4
