from typing import Any

import pytest

from tunescope.study.question import Question

BY = {"metric": "transfer.acc1"}
TWO, THREE = ("a", "b"), ("a", "b", "c")


def question(**more: Any) -> Question:
    settings: dict[str, Any] = {"ask": "?", "metric": "attention.entropy"}
    return Question(**settings | more)


@pytest.mark.parametrize(
    "said",
    [
        {"compare": THREE, "test": "anova"},
        {"against": "lr", "test": "pearson"},
        {"against": "lr", "test": "spearman", "unit": "layer"},
        {"by": BY, "test": "kendall", "within": "group"},
        {"by": BY, "test": "pearson", "given": ("lr",)},
        {"compare": TWO, "test": "mixed_model", "unit": "head"},
        {"compare": THREE, "test": "cluster_bootstrap", "unit": "layer"},
        {"against": "lr", "test": "mixed_model", "unit": "layer"},
    ],
)
def test_what_is_taken(said):
    asked = question(**said)
    assert Question.model_validate(asked.model_dump(mode="json")) == asked
    assert asked.nested == (said["test"] in ("mixed_model", "cluster_bootstrap"))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"compare": TWO, "test": "anova"},
            "'test: anova' is not for two groups; expected one of welch, student",
        ),
        (
            {"compare": THREE, "test": "student"},
            "three groups or more; expected one of welch, anova, kruskal$",
        ),
        ({"compare": TWO, "test": "pearson"}, "is not for two groups"),
        (
            {"against": "lr", "test": "welch"},
            "a trend .'against'.; expected one of spearman, pearson, kendall$",
        ),
        ({"against": "lr", "test": "cluster_bootstrap", "unit": "layer"}, "pearson, kendall, mixed_model$"),
        ({"by": BY, "test": "mixed_model"}, "a relation .'by'.; expected one of spearman, pearson, kendall$"),
        ({"by": BY, "test": "kendall", "given": ("lr",)}, "use 'within: group', or 'test: spearman'"),
        ({"by": BY, "claim": "none", "margin": 0.3, "test": "pearson"}, "does not go with a claim"),
        ({"compare": TWO, "test": "mixed_model"}, "add 'unit: layer' or 'unit: head', or drop it"),
        ({"compare": THREE, "test": "cluster_bootstrap"}, "needs several rows of each run"),
        (
            {"by_depth": True, "test": "kruskal"},
            "'test' goes with 'compare' of several groups, with 'against'",
        ),
        ({"compare": ("a",), "than": 1.0, "test": "welch"}, "'test' goes with 'compare' of several groups"),
        ({"by": BY, "unit": "head"}, "drop 'unit: head'"),
        ({"by_depth": True, "unit": "head"}, "drop 'unit: head'"),
    ],
)
def test_what_is_refused(said, message):
    with pytest.raises(ValueError, match=message.replace("$", r" \[type=")):
        question(**said)
