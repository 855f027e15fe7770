from typing import Any

import pytest

from tunescope.study.question import Question

BY = {"metric": "transfer.acc1"}


def question(**more: Any) -> Question:
    settings: dict[str, Any] = {"ask": "?", "metric": "attention.entropy"}
    return Question(**settings | more)


def test_what_is_needed_of_a_run():
    asked = question(by=BY, given=("lr",), reduce="max", where={"layer": "3"})
    assert [number.model_dump() for number in asked.numbers] == [
        {"metric": "attention.entropy", "where": {"layer": "3"}, "reduce": "max"},
        {"metric": "transfer.acc1", "where": {}, "reduce": "mean"},
    ]
    assert asked.held == ("lr",)
    assert question(against="rank").held == ("rank",)
    assert question(compare=("a", "b")).numbers == (question(compare=("a", "b")).measured,)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, "exactly one of 'compare'"),
        ({"compare": ("a", "b"), "by": BY}, "exactly one of 'compare'"),
        ({"against": "lr", "by": BY}, "exactly one of 'compare'"),
        ({"compare": ("a", "b"), "among": ("a",)}, "'among' goes with 'against' and 'by'"),
        ({"against": "lr", "given": ("rank",)}, "'given' goes with 'by'"),
        ({"compare": ("a", "b"), "within": "group"}, "'within' goes with 'by'"),
        ({"compare": ("a", "b"), "claim": "none", "margin": 0.3}, "'claim' goes with 'by'"),
        ({"by": BY, "claim": "none"}, "'claim: none' and 'margin' go together"),
        ({"by": BY, "margin": 0.3}, "'claim: none' and 'margin' go together"),
        ({"by": BY, "claim": "none", "margin": 1.0}, "less than 1"),
        ({"by": {"metric": "attention.entropy"}}, "it predicts itself"),
        ({"by": BY, "unit": "layer"}, "drop 'unit: layer'"),
        ({"by": BY, "within": "groups"}, "'group'"),
        ({"by": BY | {"redcue": "mean"}}, "redcue"),
    ],
)
def test_what_says_nothing_is_refused(said, message):
    with pytest.raises(ValueError, match=message):
        question(**said)
