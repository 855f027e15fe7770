from dataclasses import replace

import pytest
from report import synthetic_study as made_up
from report.records import records

from tunescope.report import frames
from tunescope.report.forest import evidence
from tunescope.study.question import Measured, Question


@pytest.fixture(scope="module")
def answers(table):
    return made_up.answers(table)


def test_a_comparison_shows_means_intervals_and_every_run(answers, table):
    chart = evidence(answers[0], frames.groups(table))
    assert chart is not None
    _, means, dots = records(chart)
    for group, mean in zip(answers[0].groups, means, strict=True):
        assert (mean["label"], mean["mean"], mean["low"], mean["high"]) == (
            group.name,
            group.mean,
            group.low,
            group.high,
        )
        assert [dot["value"] for dot in dots if dot["group"] == group.name] == list(group.values)
    assert (
        chart.to_dict()["layer"][2]["encoding"]["x"]["title"]
        == "mean magnitude of change of attention entropy (nats)"
    )


def test_what_was_chosen_on_validation_stands_beside_the_group(answers, table):
    chart = evidence(answers[2], frames.groups(table))
    assert chart is not None
    assert [mean["label"] for mean in records(chart)[1]] == ["full (lr=0.0001)", "lora (lr=0.005)"]


def test_a_question_against_a_factor_shows_values_over_it(answers, table):
    chart = evidence(answers[1], frames.groups(table))
    assert chart is not None
    (dots,) = records(chart)
    group = answers[1].groups[0]
    assert [(dot["x"], dot["value"]) for dot in dots if dot["group"] == group.name] == [
        (factors["lr"], value) for factors, value in zip(group.factors, group.values, strict=True)
    ]
    assert chart.to_dict()["layer"][0]["encoding"]["x"]["scale"]["type"] == "log"


def test_a_question_by_another_number_shows_both_of_every_run(answers, table):
    by = Measured(metric="transfer.acc1.retention", reduce="max")
    asked = Question(ask="?", metric="attention.entropy.change", by=by, given=("lr",))
    groups = tuple(
        replace(group, by=tuple(0.9 + place / 100 for place in range(group.n))) for group in answers[1].groups
    )
    chart = evidence(replace(answers[1], question=asked, groups=groups), frames.groups(table))
    assert chart is not None
    (dots,) = records(chart)
    assert {dot["group"] for dot in dots} == {group.name for group in groups}
    for group in groups:
        pairs = [(dot["x"], dot["value"]) for dot in dots if dot["group"] == group.name]
        assert pairs == list(zip(group.by, group.values, strict=True))
    (marks,) = chart.to_dict()["layer"]
    x, y = marks["encoding"]["x"], marks["encoding"]["y"]
    assert (x["title"], y["title"]) == ("largest accuracy kept", "change of attention entropy")
    assert "values" not in x["axis"]
    assert "type" not in x["scale"]
    assert marks["encoding"]["color"]["field"] == "group"


def test_no_values_no_chart(answers, table):
    empty = tuple(
        replace(group, n=0, mean=None, low=None, high=None, values=(), factors=(), runs=())
        for group in answers[0].groups
    )
    assert evidence(replace(answers[0], groups=empty), frames.groups(table)) is None
    assert evidence(replace(answers[1], groups=empty), frames.groups(table)) is None


def test_a_factor_that_is_no_number_has_no_scatter(answers, table):
    groups = tuple(
        replace(group, factors=tuple({"lr": "high"} for _ in group.factors)) for group in answers[1].groups
    )
    assert evidence(replace(answers[1], groups=groups), frames.groups(table)) is None


def test_a_value_alone_has_no_interval_and_room_around_it(answers, table):
    group = answers[0].groups[0]
    alone = replace(
        group,
        n=1,
        mean=0.25,
        low=None,
        high=None,
        values=(0.25,),
        factors=group.factors[:1],
        runs=group.runs[:1],
    )
    chart = evidence(replace(answers[0], groups=(alone,)), frames.groups(table))
    assert chart is not None
    means, dots = chart.to_dict()["layer"]
    assert dots["encoding"]["x"]["scale"]["domain"] == [0.1875, 0.3125]
    assert "x2" not in means["encoding"]


def test_depths_of_runs_are_shown_as_groups_of_their_own(answers, table):
    asked = Question(ask="?", metric="attention.entropy.change", by_depth=True)
    parts = tuple(replace(answers[0].groups[0], name=name) for name in ("early", "middle", "late"))
    chart = evidence(replace(answers[0], question=asked, groups=parts), frames.groups(table))
    assert chart is not None
    assert [mean["label"] for mean in records(chart)[1]] == ["early", "middle", "late"]
    assert chart.to_dict()["layer"][2]["encoding"]["x"]["title"] == "change of attention entropy (nats)"
