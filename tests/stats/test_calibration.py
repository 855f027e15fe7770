"""On studies in which nothing differs, answers say so; layers taken as replicates do not."""

# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tunescope.stats.answer import Answer, answer
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
