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
    "said",
    [
        {"compare": ("a", "b"), "claim": "equal", "margin": 3.0},
        {"compare": ("a",), "claim": "equal", "margin": 0.02, "keeps": 1.0},
        {"compare": ("a", "b"), "test": "wilcoxon"},
        {"by_depth": True, "among": ("a",)},
        {"compare": ("a", "b", "c"), "test": "kruskal"},
    ],
)
def test_claims_of_equality_and_chosen_tests_are_taken(said):
    assert Question.model_validate(question(**said).model_dump(mode="json")) == question(**said)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, "exactly one of 'compare'"),
        ({"compare": ("a", "b"), "by": BY}, "exactly one of 'compare'"),
        ({"against": "lr", "by": BY}, "exactly one of 'compare'"),
        ({"compare": ("a", "b"), "among": ("a",)}, "'among' goes with 'against', 'by' and 'by_depth'"),
        ({"compare": ("a", "b"), "by_depth": True}, "exactly one of 'compare'"),
        ({"by_depth": True, "unit": "layer"}, "drop 'unit: layer'"),
        ({"by_depth": True, "test": "kruskal"}, "'test' goes with 'compare'"),
        ({"against": "lr", "given": ("rank",)}, "'given' goes with 'by'"),
        ({"compare": ("a", "b"), "within": "group"}, "'within' goes with 'by'"),
        ({"compare": ("a", "b"), "claim": "none", "margin": 0.3}, "'claim: none' goes with 'by'"),
        ({"by": BY, "claim": "none"}, "'claim' and 'margin' go together"),
        ({"by": BY, "margin": 0.3}, "'claim' and 'margin' go together"),
        ({"by": BY, "claim": "none", "margin": 1.0}, "a margin below 1"),
        ({"by": BY, "claim": "equal", "margin": 0.3}, "'claim: equal' goes with 'compare' of two groups"),
        ({"compare": ("a", "b", "c"), "claim": "equal", "margin": 0.3}, "'compare' of two groups"),
        ({"compare": ("a", "b"), "claim": "equal"}, "'claim' and 'margin' go together"),
        ({"compare": ("a", "b"), "claim": "equal", "margin": 0.0}, "greater than 0"),
        ({"compare": ("a",)}, "held against a value with 'than' or 'keeps'"),
        ({"compare": ("a",), "keeps": 1.0}, "'keeps' goes with 'claim: equal'"),
        ({"compare": ("a", "b"), "claim": "equal", "margin": 1, "keeps": 1.0}, "'compare' of one group"),
        ({"compare": ("a", "b"), "test": "kruskal"}, "'test: kruskal' is not for two groups"),
        ({"compare": ("a", "b", "c"), "test": "wilcoxon"}, "three groups or more; expected one of welch"),
        ({"against": "lr", "test": "welch"}, "'test' goes with 'compare'"),
        ({"compare": ("a", "b"), "claim": "equal", "margin": 1, "test": "welch"}, "not with a claim"),
        ({"by": {"metric": "attention.entropy"}}, "it predicts itself"),
        ({"by": BY, "unit": "layer"}, "drop 'unit: layer'"),
        ({"by": BY, "within": "groups"}, "'group'"),
        ({"by": BY | {"redcue": "mean"}}, "redcue"),
    ],
)
def test_what_says_nothing_is_refused(said, message):
    with pytest.raises(ValueError, match=message):
        question(**said)
