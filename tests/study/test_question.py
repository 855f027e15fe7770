from typing import Any

import pytest
import yaml

from tunescope.study.question import Question
from tunescope.study.study import Study, dump_study

BY = {"metric": "transfer.acc1"}
PREDICTORS = (BY, BY | {"where": {"step": "first"}})


def question(**more: Any) -> Question:
    settings: dict[str, Any] = {"ask": "?", "metric": "attention.entropy"}
    return Question(**settings | more)


def test_what_is_needed_of_a_run():
    asked = question(by=BY, given=("lr",), reduce="max", where={"layer": "3"})
    assert [number.model_dump() for number in asked.numbers] == [
        {"metric": "attention.entropy", "where": {"layer": "3"}, "reduce": "max", "name": None},
        {"metric": "transfer.acc1", "where": {}, "reduce": "mean", "name": None},
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
        ({"compare": ("a", "b"), "among": ("a",)}, "'among' goes with 'against', 'by', 'predictors' and"),
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
        ({"against": "lr", "test": "welch"}, "'test: welch' is not for a trend"),
        ({"compare": ("a", "b"), "claim": "equal", "margin": 1, "test": "welch"}, "does not go with a claim"),
        ({"by": {"metric": "attention.entropy"}}, "it predicts itself"),
        ({"by": BY, "unit": "layer"}, "drop 'unit: layer'"),
        ({"by": BY, "within": "groups"}, "'group'"),
        ({"by": BY | {"redcue": "mean"}}, "redcue"),
        ({"by": BY, "predictors": PREDICTORS}, "exactly one of 'compare'"),
        ({"predictors": PREDICTORS[:1]}, "at least 2"),
        ({"predictors": PREDICTORS, "unit": "layer"}, "numbers of runs; drop 'unit: layer'"),
        ({"predictors": PREDICTORS, "within": "group"}, "'within' goes with 'by'"),
        ({"predictors": PREDICTORS, "claim": "none", "margin": 0.3}, "'claim: none' goes with 'by'"),
        ({"predictors": PREDICTORS, "test": "welch"}, "'test' goes with 'compare'"),
        ({"predictors": (BY, {"metric": "attention.entropy", "name": "H"})}, "predictors.1 is the number"),
        ({"predictors": (*PREDICTORS, BY)}, "predictors.0 and predictors.2 are both called 'transfer.acc1'"),
        ({"predictors": (BY, {"metric": "m.x", "name": ""})}, "at least 1 character"),
    ],
)
def test_what_says_nothing_is_refused(said, message):
    with pytest.raises(ValueError, match=message):
        question(**said)


def test_what_predicts_is_told_apart_by_name_and_kept_in_a_study_file():
    said = (*PREDICTORS, {"metric": "attention.gini", "reduce": "mean_abs", "where": {"layer": "11"}})
    asked = question(predictors=(*said, {"metric": "m.x", "name": "drift"}), given=("rank",), among=("a",))
    names = [number.called for number in asked.predictors or ()]
    assert names == [
        "transfer.acc1",
        "transfer.acc1 (first look)",
        "mean absolute attention.gini (layer 11)",
        "drift",
    ]
    assert asked.numbers == (asked.measured, *(asked.predictors or ()))
    assert (asked.held, asked.parted) == (("rank",), False)
    assert Question.model_validate(asked.model_dump(mode="json")) == asked
    study = Study.model_validate(
        {
            "study": "s",
            "model": "emoji-clip",
            "task": {"data": "emoji/noto"},
            "runs": {"a": {"adapt": "full", "lr": 1e-3}},
            "questions": [asked.model_dump(mode="json", exclude_unset=True)],
        }
    )
    assert Study.model_validate(yaml.safe_load(dump_study(study))).questions == (asked,)
