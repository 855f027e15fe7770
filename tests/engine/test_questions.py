from typing import Any

import pytest

from tunescope.engine.questions import check_questions
from tunescope.errors import StudyError
from tunescope.study.study import Study

GOOD = {"ask": "closer", "metric": "attention.entropy.change", "compare": ["a", "b"]}


def study(probes: tuple[str, ...] = ("attention", "transfer"), **question: Any) -> Study:
    said = {
        "study": "s",
        "model": "emoji-clip",
        "task": {"data": "emoji/noto"},
        "runs": {
            "a": {"adapt": "full", "lr": [1e-4, 1e-3]},
            "b": {"adapt": {"kind": "lora", "rank": 2}, "lr": 1e-3},
        },
        "probes": probes,
        "questions": [GOOD | question],
    }
    return Study.parse(said, "test")


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"at": "best"},
        {"at": {"lr": 1e-3}},
        {"where": {"layer": "3", "tower": "vision"}},
        {"metric": "transfer.acc1.base_only", "where": {"split": "shift:*"}},
        {"metric": "training.val_acc1"},
        {"compare": None, "against": "lr"},
    ],
)
def test_what_the_runs_will_answer_passes(question):
    check_questions(study(**question))


@pytest.mark.parametrize(
    ("probes", "question", "said"),
    [
        (
            ("attention", "transfer"),
            {"metric": "transfer.acc2"},
            "unknown metric 'transfer.acc2'; did you mean",
        ),
        (("transfer",), {}, "measured by the probe 'attention'; add it to 'probes'"),
        (("attention",), {"at": "best"}, "'at: best' chooses by the probe 'transfer'"),
        (("attention", "transfer"), {"where": {"spilt": "val"}}, "'spilt'; did you mean 'split'"),
        (("attention", "transfer"), {"at": {"rl": 1.0}}, "no factor 'rl'"),
        (("attention", "transfer"), {"compare": None, "against": "rank"}, "no factor 'rank'"),
    ],
)
def test_what_no_run_could_answer_is_refused_before_the_runs(probes, question, said):
    with pytest.raises(StudyError) as caught:
        check_questions(study(probes, **question))
    assert "question 'closer': " in str(caught.value)
    assert said in str(caught.value)
