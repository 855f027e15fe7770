from typing import Any

import pytest

from tunescope.engine.questions import check_questions
from tunescope.errors import StudyError
from tunescope.study.study import Study

GOOD = {"ask": "closer", "metric": "attention.entropy.change", "compare": ["a", "b"]}


def study(probes: tuple[str, ...] = ("attention", "transfer"), monitor: Any = None, **question: Any) -> Study:
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
    if monitor is not None:
        said |= monitor
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
        {"compare": None, "by": {"metric": "transfer.acc1", "where": {"split": "shift:*"}}, "given": ["lr"]},
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
        (("attention", "transfer"), {"at": {"lr": 0.01}}, "lr = 0.01, and no run has it; did you mean"),
        (("attention", "transfer"), {"compare": None, "against": "rank"}, "no factor 'rank'"),
        (
            ("attention", "transfer"),
            {"at": {"lr": 1e-4}},
            "leaves no run of the group 'b', which has lr: 0.001",
        ),
        (
            ("attention", "transfer"),
            {"compare": None, "against": "lr", "among": ["b"]},
            "'against: lr' needs runs that differ in it, and those asked about have 0.001",
        ),
        (
            ("attention", "transfer"),
            {"compare": None, "by": {"metric": "transfer.acc2"}},
            "unknown metric 'transfer.acc2'; did you mean",
        ),
        (
            ("attention",),
            {"compare": None, "by": {"metric": "transfer.acc1"}},
            "metric 'transfer.acc1' is measured by the probe 'transfer'; add it to 'probes'",
        ),
        (
            ("attention", "transfer"),
            {"compare": None, "by": {"metric": "transfer.acc1", "where": {"spilt": "val"}}},
            "'spilt'; did you mean 'split'",
        ),
        (
            ("attention", "transfer"),
            {"compare": None, "by": {"metric": "transfer.acc1"}, "given": ["rl"]},
            "no factor 'rl'",
        ),
        (
            ("attention",),
            {"compare": None, "by": {"metric": "after.alpha"}},
            "metric 'after.alpha' says what was done with tuned weights, and the runs of 'a'",
        ),
    ],
)
def test_what_no_run_could_answer_is_refused_before_the_runs(probes, question, said):
    with pytest.raises(StudyError) as caught:
        check_questions(study(probes, **question))
    assert "question 'closer': " in str(caught.value)
    assert said in str(caught.value)


CKA, VAL = {"metric": "representation.cka"}, {"metric": "training.val_acc1"}
LOSS = {"metric": "training.loss", "where": {"step": "first"}}
WATCHED = {"train": {"monitor": {"probes": ["attention", "representation"]}}}
ONLY_A = {
    "runs": {
        "a": {"adapt": "full", "lr": [1e-3, 1e-2], "train": {"monitor": {"probes": ["representation"]}}},
        "b": {"adapt": "full", "lr": 1e-4},
    }
}


@pytest.mark.parametrize(
    ("monitor", "question"),
    [
        (WATCHED, {"metric": "representation.cka", "where": {"step": "50"}}),
        (WATCHED, {"metric": "representation.cka", "where": {"step": "*"}}),
        (WATCHED, {"metric": "attention.entropy.change", "where": {"step": "?*"}}),
        (WATCHED, {"metric": "attention.entropy.base_only"}),
        (WATCHED, {"compare": None, "predictors": [CKA | {"where": {"step": "first"}}, LOSS]}),
        (WATCHED, {"metric": "training.loss", "where": {"step": "10"}}),
        (None, {"metric": "training.loss", "where": {"step": "10"}}),
        (None, {"where": {"step": "*"}}),  # the rows after tuning are among them
        (
            ONLY_A,
            {"compare": None, "against": "lr", "among": ["a"], "metric": "representation.cka"}
            | {"where": {"step": "0"}},
        ),
    ],
)
def test_what_live_monitors_write_may_be_asked_at_a_step(monitor, question):
    check_questions(study(monitor=monitor, **question))


@pytest.mark.parametrize(
    ("monitor", "question", "said"),
    [
        (WATCHED, {"metric": "representation.cka"}, "add it to 'probes', or ask for the live monitor's rows"),
        (
            WATCHED,
            {"metric": "transfer.acc1", "where": {"step": "50"}},
            "the runs of 'a' have none that does; add the probe 'transfer' to 'train.monitor.probes'",
        ),
        (
            ONLY_A,
            {"metric": "representation.cka", "where": {"step": "50"}},
            "the runs of 'b' have none that does; add the probe 'representation'",
        ),
        (
            WATCHED,
            {"metric": "attention.entropy.base", "where": {"step": "0"}},
            "has no rows at steps; remove",
        ),
        (WATCHED, {"metric": "training.seconds", "where": {"step": "0"}}, "has no rows at steps; remove"),
        (
            None,
            {"compare": None, "predictors": [LOSS, CKA | {"where": {"step": "first"}}]},
            "the runs of 'a' have none that does; add the probe 'representation' to 'train.monitor.probes'",
        ),
        (
            WATCHED,
            {"compare": None, "predictors": [LOSS, {"metric": "representation.kca"}]},
            "unknown metric 'representation.kca'; did you mean 'representation.cka'",
        ),
        (None, {"compare": None, "predictors": [LOSS, VAL], "given": ["rnak"]}, "no factor 'rnak'"),
        (WATCHED, {"metric": "representation.kca"}, "did you mean 'representation.cka'"),
    ],
)
def test_what_no_live_monitor_writes_is_refused(monitor, question, said):
    with pytest.raises(StudyError) as caught:
        check_questions(study(monitor=monitor, **question))
    assert said in str(caught.value)


def test_the_rule_to_stop_by_is_checked_before_the_runs():
    rule = {"metric": "attention.entorpy", "below": 1}
    monitor = {"train": {"monitor": {"probes": ["attention"], "stop_on_collapse": rule}}}
    with pytest.raises(
        StudyError, match=r"runs.a: train.monitor.stop_on_collapse.*did you mean 'attention.ent"
    ):
        check_questions(study(monitor=monitor))


def test_what_was_done_with_the_weights_is_asked_of_runs_that_say_so():
    wise = {"adapt": "full", "lr": 1e-3, "after": "wise_ft", "seeds": [0, 1]}
    both = {"runs": {"a": wise, "b": wise | {"seeds": [3]}}}
    check_questions(study(monitor=both, metric="after.val_acc1"))
    one = {"runs": {"a": wise, "b": {"adapt": "full", "lr": 1e-3}}}
    with pytest.raises(StudyError, match="the runs of 'b' have no 'after'"):
        check_questions(study(monitor=one, metric="after.val_acc1"))
    check_questions(study(monitor=one, metric="after.alpha", compare=None, against="seed", among=["a"]))


def test_wilcoxon_needs_the_same_seeds_in_both_groups():
    check_questions(study(test="wilcoxon"))
    other = study(test="wilcoxon")
    runs = other.runs | {"b": other.runs["b"] | {"seeds": [3, 11]}}
    with pytest.raises(StudyError, match="'a' has the seeds 0, 'b' 3, 11; give both the same"):
        check_questions(other.model_copy(update={"runs": runs}))


def test_what_a_group_keeps_must_be_measured():
    kept = {"compare": ["a"], "claim": "equal", "keeps": 1.0, "margin": 0.02}
    check_questions(study(metric="transfer.acc1.retention", **kept))
    with pytest.raises(StudyError, match=r"unknown metric 'transfer.acc1.retentoin'; did you mean"):
        check_questions(study(metric="transfer.acc1.retentoin", **kept))


def test_depths_are_those_of_a_metric_with_layers():
    check_questions(study(compare=None, by_depth=True))
    with pytest.raises(StudyError, match=r"metric 'transfer.acc1' has no layers, which 'by_depth' compares"):
        check_questions(study(metric="transfer.acc1", compare=None, by_depth=True))
    with pytest.raises(StudyError, match=r"'transfer.acc1' has no heads; drop 'unit: head'"):
        check_questions(study(metric="transfer.acc1", unit="head"))
