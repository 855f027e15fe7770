# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW, ttost_ind, ttost_paired

from tunescope.stats.answer import Answer, answer
from tunescope.stats.equivalence import tost
from tunescope.study.question import Question

METRIC = "transfer.acc1.retention"
A, B = [0.91, 0.93, 0.90, 0.94, 0.92], [0.92, 0.90, 0.93, 0.925, 0.915]


def asked(**more: Any) -> Question:
    settings: dict[str, Any] = {"ask": "Equal?", "metric": METRIC, "compare": ("a", "b")}
    return Question(**settings | {"claim": "equal", "margin": 0.03} | more)


@pytest.fixture
def ask(make_table):
    def ask(a: Sequence[float], b: Sequence[float] = (), first: int = 100, **more: Any) -> Answer:
        runs = [
            {"group": group, "factors": {"seed": start + i}, "rows": [{"metric": METRIC, "value": value}]}
            for group, values, start in (("a", a, 0), ("b", b, first))
            for i, value in enumerate(values)
        ]
        (found,) = answer(make_table(runs), [asked(**more)])
        return found

    return ask


def test_other_seeds_get_welchs_tost_as_statsmodels_has_it(ask):
    found = ask(A, B[:4])
    assert found.p == pytest.approx(ttost_ind(A, B[:4], -0.03, 0.03, usevar="unequal")[0], abs=1e-8)
    assert (found.test, found.verdict) == ("Welch's TOST", "yes")
    wanted = stats.ttest_ind(A, B[:4], equal_var=False).confidence_interval(0.9)
    assert (found.weighed.low, found.weighed.high) == pytest.approx((wanted.low, wanted.high), abs=1e-8)
    wanted = stats.ttest_ind(A, B[:4], equal_var=False).confidence_interval(0.95)
    assert (found.effect.low, found.effect.high) == pytest.approx((wanted.low, wanted.high), abs=1e-8)


def test_the_same_seeds_get_the_paired_tost(ask):
    found = ask(A, B, first=0)
    assert found.p == pytest.approx(ttost_paired(np.array(A), np.array(B), -0.03, 0.03)[0], abs=1e-8)
    assert (found.test, found.pairing) == ("paired TOST", "paired by seed")


def test_one_group_keeps_a_value(ask):
    found = ask(A, compare=("a",), keeps=0.93)
    assert found.p == pytest.approx(DescrStatsW(A).ttost_mean(0.90, 0.96)[0], abs=1e-8)
    assert found.claim == f"{METRIC} of a is 0.93, to within ±0.03"
    assert found.sentence.startswith("a 0.92: keeps 0.93 to within ±0.03 (difference −0.01, 90 % interval ")
    assert found.verdict == "yes"
    assert ask(A, compare=("a",), keeps=0.5).verdict == "no"
    assert type(found).from_json(found.to_json()) == found


def test_beyond_the_margin_is_a_no_with_the_p_of_a_difference_that_large(ask):
    moved = [value + 0.1 for value in B]
    found = ask(A, moved)
    above = [value + 0.03 for value in A]  # at the edge of the margin
    assert found.verdict == "no"
    assert found.p == pytest.approx(stats.ttest_ind(above, moved, equal_var=False).pvalue, abs=1e-8)
    assert "further apart than ±0.03" in found.sentence


@pytest.mark.parametrize("shift", np.linspace(0, 0.12, 13).tolist())
def test_yes_and_no_are_read_off_the_intervals(ask, shift):
    found = ask(A, [value + shift for value in B])
    inside = found.weighed.low > -0.03 and found.weighed.high < 0.03
    outside = found.effect.high < -0.03 or found.effect.low > 0.03
    assert found.verdict == ("yes" if inside else "no" if outside else "unclear")


def test_few_noisy_runs_show_neither(ask):
    found = ask([0.7, 0.9, 1.1], [0.8, 1.0, 0.75])
    assert found.verdict == "unclear"
    assert "neither shown to be the same to within ±0.03, nor to differ by more" in found.sentence


def test_two_runs_are_shown_and_not_tested(ask):
    found = ask(A[:2], compare=("a",), keeps=1.0)
    assert (found.verdict, found.p) == ("not enough runs", None)
    assert found.effect.value == pytest.approx(-0.08)
    assert (
        found.sentence
        == "not enough runs: a 0.92 (difference −0.08); a has 2 runs, a test needs 3 in each group."
    )


def test_runs_that_do_not_vary_are_exact(ask):
    found = ask([0.9] * 3, [0.91] * 3)
    assert (found.verdict, found.p, found.weighed) == ("unclear", None, None)
    assert "difference −0.01, exactly, in every run" in found.sentence


def test_the_smallest_margin_is_found_four_times_in_five_where_nothing_differs(ask):
    rng = np.random.default_rng(0)
    a, b = ([*(mean + side * np.sqrt(0.9) for side in (-1, 1) for _ in range(5))] for mean in (0.0, 0.1))
    margin = ask(a, b).detectable.value  # of ten runs each, with a spread of one
    samples = rng.normal(size=(2_000, 2, 10))
    found = [
        tost(float(a.mean() - b.mean()), float(np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 10)), 18, margin)[0]
        for a, b in samples
    ]
    assert 0.77 <= np.mean(np.array(found) < 0.05) <= 0.83
