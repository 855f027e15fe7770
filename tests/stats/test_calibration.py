"""On studies in which nothing differs, answers say so; layers taken as replicates do not."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalOperand=false
# SciPy ships no types: its named results are taken for plain tuples
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tunescope.stats.answer import Answer, answer
from tunescope.stats.claim import Claim
from tunescope.stats.equivalence import equivalence
from tunescope.stats.finding import Finding, GroupSummary
from tunescope.stats.groups import by_kruskal
from tunescope.stats.ranks import mann_whitney, wilcoxon
from tunescope.stats.twogroup import two_groups
from tunescope.study.question import Question

STUDIES, ASKED, RUNS, LAYERS = 400, 10, 4, 12  # ten questions are asked and corrected together


@pytest.fixture(scope="module")
def null(make_table_once) -> tuple[np.ndarray, list[Answer]]:
    """400 studies of 2 groups × 4 runs × 12 layers: a run's layers share its luck, and nothing else differs.

    In every other study the groups share their seeds, and a seed brings luck of its own.
    """
    rng = np.random.default_rng(0)
    run_luck = rng.normal(0, 1, (STUDIES, 2, RUNS, 1))
    seed_luck = rng.normal(0, 1, (STUDIES, 1, RUNS, 1)) * (np.arange(STUDIES) % 2)[:, None, None, None]
    values = 3 + run_luck + seed_luck + rng.normal(0, 1, (STUDIES, 2, RUNS, LAYERS))
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
    assert 0.02 <= rejected.mean() <= 0.07
    assert (
        max(rejected[::2].mean(), rejected[1::2].mean()) <= 0.085
    )  # of 200 each: 0.05 and two standard errors


def test_holm_keeps_the_false_yes_of_a_whole_study_rare(null):
    _, answers = null
    wrong = [
        any(found.verdict != "unclear" for found in answers[i : i + ASKED]) for i in range(0, STUDIES, ASKED)
    ]
    assert np.mean(wrong) <= 0.1  # of 40: 0.05 and one and a half standard errors


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


def group(name: str, values: np.ndarray) -> GroupSummary:
    seeds = tuple({"seed": seed} for seed in range(len(values)))
    runs = tuple(f"{name}{i}" for i in range(len(values)))
    mean = float(values.mean())
    return GroupSummary(name, len(values), mean, None, None, tuple(values.tolist()), seeds, runs, {})


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
        for a, b in rng.normal(size=(600, 2, 8))
    ]
    clear = np.array([one.p < 0.05 for one in found])
    yes = np.array([one.supports for one in found])
    assert 0.03 <= np.mean(clear & yes) <= 0.06
    assert 0.01 <= np.mean(clear & ~yes) <= 0.06
    assert np.mean([one.weighed.low <= edge <= one.weighed.high for one in found]) >= 0.88
    assert np.mean([one.effect.low <= edge <= one.effect.high for one in found]) >= 0.93
