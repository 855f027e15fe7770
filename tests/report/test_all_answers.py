"""All answers in one figure."""

from dataclasses import replace

import pytest
from report import synthetic_study as made_up
from report.records import records

from tunescope.report.all_answers import all_answers, answer_figures
from tunescope.stats.finding import Effect


@pytest.fixture(scope="module")
def answers(table):
    return made_up.answers(table)


def test_each_answer_with_an_interval_stands_in_the_panel_of_its_kind(answers):
    first, second = answers[:2]
    unit = replace(first, standardised=None)
    charts = all_answers([first, second, unit, replace(second, verdict="no")])
    found = [(chart.to_dict()["title"], records(chart)[1]) for chart in charts]
    assert [title for title, _ in found] == [
        "difference, in standard deviations",
        "correlation (rho, r, tau)",
        "difference, nats",
    ]
    (one,) = found[0][1]
    assert (one["value"], one["low"], one["high"]) == (-1.31, -2.33, -0.24)
    assert one["question"].startswith("1. Does LoRA keep")
    assert len(one["question"]) <= 64
    assert one["sentence"] == first.sentence
    assert [(row["row"], row["verdict"]) for row in found[1][1]] == [(2, "yes"), (4, "no")]
    assert [row["value"] for row in found[2][1]] == [-0.148]


def test_what_has_no_interval_is_counted(answers):
    none = replace(answers[0], standardised=None, effect=Effect("difference", 0.5, unit="nats"))
    far = replace(answers[0], standardised=Effect("Hedges' g", 80.0, float("-inf"), 99.0), effect=None)
    (figure,) = answer_figures([answers[0], none, answers[1], far])
    assert figure.caption.endswith("Without an interval, so not here: 2 of 4 answers.")
    assert answer_figures([answers[0], none]) == ()


def test_large_effects_stand_on_a_symmetric_logarithmic_scale(answers):
    huge = replace(answers[0], standardised=Effect("Cohen's d", 40.0, 12.0, 70.0))
    for found, kind in (([huge, answers[0]], "symlog"), ([answers[0], answers[0]], None)):
        (chart,) = all_answers(found)
        assert chart.to_dict()["layer"][1]["encoding"]["x"]["scale"].get("type") == kind
