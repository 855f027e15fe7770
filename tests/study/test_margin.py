from typing import Any

import pytest
import yaml

from tunescope.study.question import Question


def question(**more: Any) -> Question:
    settings: dict[str, Any] = {"ask": "?", "metric": "m.x", "compare": ("a", "b"), "claim": "equal"}
    return Question(**settings | more)


@pytest.mark.parametrize(
    ("said", "margin", "share"),
    [
        ("10%", "10%", 0.1),
        (" 2.50 % ", "2.5%", 0.025),
        ("0.5", 0.5, None),
        (3, 3.0, None),
        (".5%", "0.5%", 0.005),
    ],
)
def test_a_number_or_a_share_comes_back_as_it_was_said(said, margin, share):
    asked = question(margin=said)
    assert (asked.margin, asked.share) == (margin, share)
    assert Question.model_validate_json(asked.model_dump_json()) == asked
    assert Question.parse(yaml.safe_load(yaml.safe_dump(asked.model_dump(mode="json"))), "s.yaml") == asked


def test_yaml_needs_no_quotes():
    said = yaml.safe_load("{ask: '?', metric: m.x, compare: [a, b], claim: equal, margin: 10%}")
    assert Question.parse(said, "s.yaml").share == 0.1


@pytest.mark.parametrize("said", ["0%", "100%", "-5%", "ten", 0, -1, float("nan"), float("inf"), "5 %%", [1]])
def test_what_is_no_margin(said):
    with pytest.raises(ValueError, match="a number greater than 0 in the metric's unit, or a share"):
        question(margin=said)


def test_where_a_share_means_nothing():
    with pytest.raises(ValueError, match="not a share of a mean"):
        question(compare=None, by={"metric": "m.y"}, claim="none", margin="10%")
    with pytest.raises(ValueError, match="a share of 0 is 0"):
        question(compare=("a",), keeps=0, margin="10%")
