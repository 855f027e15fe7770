from dataclasses import replace

import pytest
from report import synthetic_study as made_up
from report.records import records

from tunescope.report import frames
from tunescope.report.forest import evidence
from tunescope.report.page import render
from tunescope.stats.answer import Answer, answer
from tunescope.stats.finding import Effect, Prediction
from tunescope.study.question import Measured, Question


@pytest.fixture(scope="module")
def found(table) -> Answer:
    asked = Question(
        ask="Which predicts zero-shot accuracy best?",
        metric="transfer.acc1.retention",
        where={"split": "zero_shot:*"},
        predictors=(
            Measured(metric="attention.entropy.change", reduce="mean_abs", name="|ΔH| <b>"),
            Measured(metric="attention.entropy.change"),
        ),
    )
    return answer(table, [asked])[0]


def test_every_reading_of_every_number_is_drawn(found, table):
    chart = evidence(found, frames.groups(table))
    assert chart is not None
    ends, marks = records(chart)
    assert [end["predictor"] for end in ends] == list(found.ranking)
    for each in found.predictions:
        own = {mark["reading"]: mark for mark in marks if mark["predictor"] == each.name}
        assert own["over all runs"]["value"] == each.rho.value
        assert own["over all runs"]["shown"] == abs(each.rho.value)
        assert own["within groups, mean"]["value"] == each.within
        assert own["given lr"]["value"] == each.given
        assert own["groups left out, skill"]["value"] == each.skill
    document = chart.to_dict()
    assert document["layer"][1]["encoding"]["y"]["sort"] == list(found.ranking)
    assert document["layer"][1]["encoding"]["color"]["scale"]["domain"] == list(
        dict.fromkeys(mark["reading"] for mark in marks)
    )


def test_sizes_and_skills_stay_on_the_axis(found):
    across = Prediction("a", Effect("Spearman's rho", -0.2, -0.5, 0.1), skill=-7.0)
    below = Prediction("b", Effect("Spearman's rho", -0.6, -0.8, -0.4))
    chart = evidence(replace(found, predictions=(below, across), held=()), [])
    assert chart is not None
    ends, marks = records(chart)
    assert [(end["low"], end["high"]) for end in ends] == [(0.4, 0.8), (0.0, 0.5)]
    assert (marks[-1]["value"], marks[-1]["shown"]) == (-7.0, -1.0)
    assert chart.to_dict()["layer"][1]["encoding"]["x"]["scale"]["domain"] == [-1.0, 1.0]
    alone = evidence(replace(found, predictions=(Prediction("c", Effect("rho", 1.0)),)), [])
    assert alone is not None
    assert len(alone.to_dict()["layer"]) == 1
    assert evidence(replace(found, predictions=()), []) is None


def test_the_page_says_what_was_held_against_what(found, table, study):
    page = render(study, table, [found], made_up.arrays(table), made_up.MADE)
    assert "Held against: |ΔH| &lt;b&gt;: <code>attention.entropy.change</code>, mean magnitude; " in page
    assert "A row for each number." in page
    assert all(line.split(":")[0].replace("<", "&lt;").replace(">", "&gt;") in page for line in found.beside)


def test_a_name_stands_for_a_number_that_is_held_against_another(table):
    asked = Question(
        ask="?",
        metric="transfer.acc1.retention",
        where={"split": "zero_shot:*"},
        by=Measured(metric="attention.entropy.change", name="collapse"),
    )
    (got,) = answer(table, [asked])
    chart = evidence(got, frames.groups(table))
    assert chart is not None
    assert chart.to_dict()["layer"][0]["encoding"]["x"]["title"] == "collapse"
    assert got.claim == "transfer.acc1.retention rises or falls with collapse"
    assert " collapse" in got.sentence
