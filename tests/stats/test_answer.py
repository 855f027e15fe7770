# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tunescope.stats.answer import answer
from tunescope.study.question import Question

METRIC = "attention.entropy.change"
FULL, LORA = [0.121, 0.117, 0.116], [0.043, 0.041, 0.039]
CLOSER = Question(ask="Is LoRA closer?", metric=METRIC, reduce="mean_abs", compare=("lora", "full"))


def run(group: str, seed: int, value: float, lr: float = 1e-3, **more):
    rows = [{"metric": METRIC, "value": sign * value, "layer": layer} for layer, sign in ((0, 1), (1, -1))]
    return {"group": group, "factors": {"lr": lr, "seed": seed}, "rows": rows} | more


def study(full=FULL, lora=LORA):
    return [
        run(g, seed, v) for g, values in (("full", full), ("lora", lora)) for seed, v in enumerate(values)
    ]


def test_two_groups_in_one_sentence(make_table):
    (found,) = answer(make_table(study()), [CLOSER])
    p = stats.ttest_rel(LORA, FULL).pvalue
    assert found.p == pytest.approx(p, abs=1e-8)
    assert found.p_corrected == found.p
    assert found.verdict == "yes"
    assert found.claim == "lora is closer to the pretrained model than full"
    assert found.sentence == (
        "lora 0.041 vs full 0.118 nats (difference −0.077, 95 % interval −0.0795 to −0.0745; "
        "Hedges' g of the pairs −43.4; Holm-corrected p < 0.0001; 3 + 3 runs, paired by seed)."
    )
    assert (found.n, found.correction) == (6, "Holm over 1 question")


def test_the_other_direction_is_a_no(make_table):
    (found,) = answer(make_table(study(full=LORA, lora=FULL)), [CLOSER])
    assert found.verdict == "no"


def test_no_difference_is_unclear(make_table):
    (found,) = answer(make_table(study(full=[0.1, 0.2, 0.3], lora=[0.12, 0.19, 0.29])), [CLOSER])
    assert found.verdict == "unclear"


def test_two_runs_show_the_effect_and_test_nothing(make_table):
    (found,) = answer(make_table(study(full=FULL[:2])), [CLOSER])
    assert found.verdict == "not enough runs"
    assert found.p is None
    assert found.p_corrected is None
    assert found.effect is not None
    assert found.effect.value == pytest.approx(np.mean(LORA) - np.mean(FULL[:2]))
    assert found.effect.low is None
    assert found.sentence == (
        "not enough runs: lora 0.041 vs full 0.119 nats (difference −0.078); "
        "full has 2 runs, a test needs 3 in each group."
    )


def test_a_diverged_run_is_counted_and_not_used(make_table):
    runs = [*study(), run("full", 3, 50.0, status="failed", cause="diverged at step 9")]
    (found,) = answer(make_table(runs), [CLOSER])
    assert found.left_out == {"diverged at step 9": 1}
    assert found.n == 6
    assert found.groups[1].values == tuple(FULL)
    assert "  left out: 1 run, diverged at step 9" in found.lines()


def test_three_diverged_runs_leave_an_empty_group(make_table):
    runs = study(full=[]) + [
        run("full", s, 1.0, status="failed", cause="diverged at step 1") for s in range(3)
    ]
    (found,) = answer(make_table(runs), [CLOSER])
    assert found.sentence.startswith("not enough runs: lora 0.041 vs full – nats; full has no runs")


def test_holm_is_over_the_questions_that_were_tested(make_table):
    questions = [
        CLOSER,
        Question(ask="Differ?", metric=METRIC, reduce="max", compare=("full", "lora")),
        Question(ask="Trend?", metric=METRIC, reduce="max", against="lr"),
        Question(ask="Third?", metric=METRIC, reduce="mean_abs", compare=("lora", "few")),
    ]
    noisy = study(full=[0.1, 0.13, 0.12], lora=[0.09, 0.11, 0.12])
    table = make_table([*noisy, run("few", 0, 0.5), run("lora", 5, 0.1, lr=1e-2)])
    found = answer(table, questions)
    tested = [a for a in found if a.p is not None]
    assert [a.question.ask for a in tested] == ["Is LoRA closer?", "Differ?", "Trend?"]
    assert {a.correction for a in tested} == {"Holm over 3 questions"}
    p = sorted(tested, key=lambda a: a.p or 0)
    assert p[0].p_corrected == pytest.approx(min(1, 3 * (p[0].p or 0)))
    for a in tested:
        assert (a.p or 0) <= (a.p_corrected or 0) <= 1
    assert found[3].correction == ""


def test_several_groups_are_ranked(make_table):
    noise = [0.0, 0.002, -0.001]
    runs = [
        run(g, s, base + noise[s] * k)
        for g, base, k in (("full", 0.3, 1), ("lora", 0.1, 2), ("floor", 0.2, 3))
        for s in range(3)
    ]
    asked = Question(ask="Who?", metric=METRIC, reduce="mean_abs", compare=("full", "lora", "floor"))
    (found,) = answer(make_table(runs), [asked])
    assert found.verdict == "yes"
    assert found.ranking == ("lora", "floor", "full")
    assert found.sentence.startswith("lora 0.101 [0.0931, 0.108], floor 0.201")
    assert "every group differs from every other" in found.sentence
    assert len(found.pairs) == 3


def test_a_trend_has_a_direction(make_table):
    runs = [run("full", s, 0.1 * k + 0.01 * s, lr=10.0 ** (k - 6)) for k in (1, 2, 3) for s in range(2)]
    asked = Question(ask="Does lr drive it?", metric=METRIC, reduce="mean_abs", against="lr")
    (found,) = answer(make_table(runs), [asked])
    assert found.verdict == "yes"
    assert found.sentence.startswith(
        "mean absolute attention.entropy.change rises with lr (Spearman's rho 0.956"
    )
    assert found.sentence.endswith("6 runs).")
    (found,) = answer(make_table(runs[:2]), [asked])
    assert found.sentence == (
        "not enough runs: 2 runs with both attention.entropy.change and lr; a trend needs 3."
    )


def test_layers_as_replicates_are_warned_about(make_table):
    asked = CLOSER.model_copy(update={"unit": "layer"})
    rows = [{"metric": METRIC, "value": 0.1 * layer, "layer": layer} for layer in range(4)]
    more = [{**row, "value": 0.3 + row["value"] * 1.1} for row in rows]
    table = make_table([run("lora", 0, 0) | {"rows": rows}, run("full", 0, 0) | {"rows": more}])
    (found,) = answer(table, [asked])
    assert found.p is not None
    assert found.n == 2
    assert "layers of one run are not replicates" in found.warnings[0]
    assert "4 + 4 layers of 2 runs, paired by layer" in found.sentence
    (found,) = answer(table, [CLOSER])
    assert found.verdict == "not enough runs"


def test_zero_change_is_exact_and_silent(make_table):
    (found,) = answer(make_table(study(full=[0.2] * 3, lora=[0.0] * 3)), [CLOSER])
    assert found.verdict == "unclear"
    assert found.p is None
    assert "difference −0.2, exactly, in every run" in found.sentence
    (found,) = answer(make_table(study(lora=[0.0] * 3)), [CLOSER])
    assert found.verdict == "yes"


def test_json_is_plain(make_table):
    questions = [CLOSER, Question(ask="?", metric=METRIC, against="lr")]
    for found in answer(make_table(study()), questions):
        again = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert again["question"]["ask"] == found.question.ask
        assert again["verdict"] == found.verdict
        assert again["groups"][0]["values"] == list(found.groups[0].values)
        assert type(found).from_json(again) == found


def test_lines_name_question_verdict_test_and_warnings(make_table):
    (found,) = answer(make_table(study()), [CLOSER])
    lines = found.lines()
    assert lines[0] == "Is LoRA closer?"
    assert lines[1] == f"  yes: {found.sentence}"
    assert any(
        line.startswith("  test: paired t test, p < 0.0001 before Holm over 1 question;") for line in lines
    )
    assert (
        found.beside[0]
        == "exact sign-flip test of the pairs: p = 0.25, the smallest that so few runs can give"
    )
    assert found.detectable is not None


@settings(max_examples=8, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_runs_and_rows_changes_nothing(make_table_once, shuffle: random.Random):
    runs = [
        run(g, s, 0.1 * k * (1 + 0.3 * s), lr=lr)
        for k, g in enumerate(("full", "lora", "floor"), 1)
        for lr in (1e-4, 1e-3)
        for s in range(3)
    ]
    questions = [
        CLOSER,
        Question(ask="Who?", metric=METRIC, reduce="mean_abs", compare=("full", "lora", "floor")),
        Question(ask="Trend?", metric=METRIC, reduce="mean_abs", against="lr"),
    ]
    mixed = [each | {"rows": shuffle.sample(each["rows"], 2)} for each in shuffle.sample(runs, len(runs))]
    for before, after in zip(
        answer(make_table_once(runs), questions), answer(make_table_once(mixed), questions), strict=True
    ):
        assert before.sentence == after.sentence
        assert before.p == pytest.approx(after.p, abs=1e-12)
        assert before.verdict == after.verdict


def test_benjamini_hochberg_where_the_study_says_so(make_table):
    differ = Question(ask="Differ?", metric=METRIC, reduce="max", compare=("full", "lora"))
    noisy = study(full=[0.1, 0.13, 0.12], lora=[0.09, 0.11, 0.12])
    first, second = answer(make_table(noisy), [CLOSER, differ], "benjamini_hochberg")
    assert first.p == second.p == first.p_corrected == second.p_corrected
    assert first.correction == "Benjamini–Hochberg over 2 questions"
    assert "; Benjamini–Hochberg-corrected p = " in first.sentence


@pytest.mark.parametrize(
    ("test", "named"),
    [
        ("welch", "Welch's t test"),
        ("student", "Student's t test"),
        ("permutation", "exact sign-flip test of the pairs"),
        ("mann_whitney", "Mann–Whitney U test"),
        ("wilcoxon", "Wilcoxon's signed-rank test"),
    ],
)
def test_the_test_that_a_question_asks_for(make_table, test, named):
    table = make_table(study(full=[0.12, 0.14, 0.11, 0.13], lora=[0.04, 0.05, 0.03, 0.035]))
    (found,) = answer(table, [CLOSER.model_copy(update={"test": test})])
    assert found.test == named
    assert found.why.startswith("the question asks for it; ")
    assert found.supports
    assert type(found).from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_kruskal_where_it_is_asked_for_and_two_runs_stay_untested(make_table):
    asked = Question(ask="?", metric=METRIC, reduce="max", compare=("a", "b", "c"), test="kruskal")
    runs = [run(name, s, 0.1 * k + 0.01 * s) for k, name in enumerate("abc") for s in range(3)]
    (found,) = answer(make_table(runs), [asked])
    assert (found.test, found.verdict) == ("Kruskal–Wallis test", "yes")
    assert "the groups differ, a from c" in found.sentence
    (found,) = answer(make_table(runs[1:]), [asked])
    assert (found.verdict, found.p) == ("not enough runs", None)
