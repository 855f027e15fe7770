"""On studies in which nothing differs, answers say so; layers taken as replicates do not."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalOperand=false
# pyright: reportOperatorIssue=false
# SciPy ships no types: its named results are taken for plain tuples
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tunescope.stats.answer import Answer, answer
from tunescope.stats.claim import Claim
from tunescope.stats.depth import by_depth
from tunescope.stats.equivalence import equivalence
from tunescope.stats.finding import Finding, GroupSummary
from tunescope.stats.groups import by_kruskal, several_groups
from tunescope.stats.ranks import mann_whitney, wilcoxon
from tunescope.stats.relation import relation
from tunescope.stats.trend import trend
from tunescope.stats.twogroup import two_groups
from tunescope.study.question import Measured, Question

STUDIES, ASKED, RUNS, LAYERS = 1_000, 10, 4, 12  # ten questions are asked and corrected together


def simulated(rng: np.random.Generator, groups: int, runs: int) -> np.ndarray:
    """1,000 studies, [study, group, run, layer]: a run's layers share its luck, and nothing else differs."""
    run_luck = rng.normal(0, 1, (STUDIES, groups, runs, 1))
    return 3 + run_luck + rng.normal(0, 1, (STUDIES, groups, runs, LAYERS))


@pytest.fixture(scope="module")
def null(make_table_once) -> tuple[np.ndarray, list[Answer]]:
    """1,000 studies of 2 groups × 4 runs × 12 layers, each with one question, asked as a study asks it.

    In every other study the groups share their seeds, and a seed brings luck of its own.
    """
    rng = np.random.default_rng(0)
    values = simulated(rng, 2, RUNS)
    values[1::2] += rng.normal(0, 1, (STUDIES // 2, 1, RUNS, 1))
    answers = []
    for first in range(0, STUDIES, ASKED):
        studies = range(first, first + ASKED)
        runs = [run for study in studies for run in study_runs(study, values[study])]
        questions = [
            Question(ask=str(study), metric="m.x", compare=(f"a{study}", f"b{study}")) for study in studies
        ]
        answers += answer(make_table_once(runs), questions)
    return values, answers


def study_runs(study: int, values: np.ndarray) -> list[dict[str, Any]]:
    runs = []
    for group in range(2):
        for i in range(RUNS):
            seed = i if study % 2 else RUNS * group + i
            rows = [
                {"metric": "m.x", "layer": layer, "value": value}
                for layer, value in enumerate(values[group, i].tolist())
            ]
            runs.append({"group": f"{'ab'[group]}{study}", "factors": {"seed": seed}, "rows": rows})
    return runs


def test_the_two_kinds_of_study_get_their_tests(null):
    _, answers = null
    assert {found.pairing for found in answers[::2]} == {""}
    assert {found.pairing for found in answers[1::2]} == {"paired by seed"}


def test_runs_as_replicates_reject_no_more_than_promised(null):
    _, answers = null
    rejected = np.array([found.p < 0.05 for found in answers])
    assert 0.03 <= rejected.mean() <= 0.06
    assert max(rejected[::2].mean(), rejected[1::2].mean()) <= 0.07  # of 500 each: two standard errors


def test_holm_keeps_the_false_yes_of_a_whole_study_rare(null):
    _, answers = null
    wrong = [
        any(found.verdict != "unclear" for found in answers[i : i + ASKED]) for i in range(0, STUDIES, ASKED)
    ]
    assert np.mean(wrong) <= 0.08  # of 100: 0.05 and one and a half standard errors


def test_intervals_cover_no_difference(null):
    _, answers = null
    assert np.mean([found.effect.low <= 0 <= found.effect.high for found in answers]) >= 0.93
    assert np.mean([found.standardised.low <= 0 <= found.standardised.high for found in answers]) >= 0.93


def test_layers_as_replicates_reject_far_too_often(null):
    values, _ = null
    pooled = values.reshape(STUDIES, 2, RUNS * LAYERS)
    rejected = stats.ttest_ind(pooled[:, 0], pooled[:, 1], axis=1, equal_var=False).pvalue < 0.05
    assert rejected.mean() > 0.3


NOTHING = Claim("the groups differ", 0, "")
CHOSEN: dict[str, Callable[[list[GroupSummary]], Finding]] = {
    "student": lambda groups: two_groups(groups[0], groups[1], NOTHING, "student"),
    "permutation": lambda groups: two_groups(groups[0], groups[1], NOTHING, "permutation"),
    "mann_whitney": lambda groups: mann_whitney(groups[0], groups[1], NOTHING),
    "wilcoxon": lambda groups: wilcoxon(groups[0], groups[1], NOTHING),
    "kruskal": lambda groups: by_kruskal(groups, NOTHING),
}


def group(name: str, values: np.ndarray, by: np.ndarray | None = None) -> GroupSummary:
    factors = tuple({"seed": i, "lr": 10.0**-i} for i in range(len(values)))
    runs = tuple(f"{name}{i}" for i in range(len(values)))
    mean = float(values.mean())
    beside = () if by is None else tuple(by.tolist())
    return GroupSummary(
        name, len(values), mean, None, None, tuple(values.tolist()), factors, runs, {}, beside
    )


def depth(study: np.ndarray) -> Finding:
    """Early, middle and late layers of one group's runs."""
    means = study[0].reshape(study.shape[1], 3, -1).mean(axis=2)
    return by_depth([group(name, means[:, i]) for i, name in enumerate(("early", "middle", "late"))], NOTHING)


PREDICTED = Question(ask="?", metric="m.x", by=Measured(metric="m.y"))
KINDS: dict[
    str, tuple[int, int, Callable[[np.ndarray], Finding]]
] = {  # groups, runs of each, how it is asked
    "several groups": (
        3,
        5,
        lambda study: several_groups(
            [group(n, x) for n, x in zip("abc", study.mean(2), strict=True)], NOTHING
        ),
    ),
    "trend": (1, 6, lambda study: trend([group("a", study[0].mean(1))], "lr", NOTHING)),
    "prediction": (
        2,
        6,
        lambda study: relation([group("a", study[0].mean(1), by=study[1].mean(1))], PREDICTED, NOTHING),
    ),
    "depth": (1, 6, depth),
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_of_question_reject_and_cover_as_promised(kind):
    groups, runs, asked = KINDS[kind]
    found = [asked(study) for study in simulated(np.random.default_rng(1), groups, runs)]
    assert 0.01 <= np.mean([one.p < 0.05 for one in found]) <= 0.06
    effects = [one.effect for one in found if one.effect.low is not None]  # a perfect order has no interval
    assert len(effects) > 0.98 * STUDIES
    assert np.mean([effect.low <= 0 <= effect.high for effect in effects]) >= 0.93
    assert np.mean([any((pair.p_corrected or 1) < 0.05 for pair in one.pairs) for one in found]) <= 0.06


@pytest.mark.parametrize("chosen", CHOSEN)
def test_tests_by_choice_reject_no_more_than_promised(chosen):
    rng = np.random.default_rng(2)
    names = "abc" if chosen == "kruskal" else "ab"
    found = [
        CHOSEN[chosen]([group(name, values) for name, values in zip(names, study, strict=True)])
        for study in rng.normal(size=(400, len(names), 6))
    ]
    assert 0.01 <= np.mean([one.p < 0.05 for one in found]) <= 0.06
    for effect in ("effect", "standardised"):
        ends = [(getattr(one, effect).low, getattr(one, effect).high) for one in found]
        if None not in ends[0]:
            assert np.mean([low <= 0 <= high for low, high in ends]) >= 0.93
    assert np.mean([any(pair.p_corrected < 0.05 for pair in one.pairs) for one in found]) <= 0.06


@pytest.mark.parametrize("edge", [-1.0, 1.0])
def test_equality_is_claimed_and_denied_no_more_than_promised_at_the_edge_of_the_margin(edge):
    rng = np.random.default_rng(3)
    asked = Question(ask="?", metric="m.x", compare=("a", "b"), claim="equal", margin=1.0)
    found = [
        equivalence([group("a", a + edge), replace(group("b", 0.3 * b), factors=({},) * 8)], asked, NOTHING)
        for a, b in rng.normal(size=(STUDIES, 2, 8))
    ]
    clear = np.array([one.p < 0.05 for one in found])
    yes = np.array([one.supports for one in found])
    assert 0.03 <= np.mean(clear & yes) <= 0.06
    assert 0.01 <= np.mean(clear & ~yes) <= 0.06
    assert np.mean([one.weighed.low <= edge <= one.weighed.high for one in found]) >= 0.88
    assert np.mean([one.effect.low <= edge <= one.effect.high for one in found]) >= 0.93
