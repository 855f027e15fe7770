# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from tunescope.stats.claim import Claim
from tunescope.stats.finding import GroupSummary
from tunescope.stats.twogroup import permutation, two_groups

CLOSER = Claim("a is closer to zero than b", -1, "nats")


def group(name: str, values: Sequence[float], **factors: Sequence[float]) -> GroupSummary:
    each = [dict(zip(factors, row, strict=True)) for row in zip(*factors.values(), strict=True)] or [
        {}
    ] * len(values)
    runs = tuple(f"{name}{i}" for i in range(len(values)))
    return GroupSummary(
        name, len(values), float(np.mean(values)), None, None, tuple(values), tuple(each), runs, {}
    )


A = [0.12, 0.15, 0.11, 0.18]
B = [0.31, 0.29, 0.42, 0.35]


def test_independent_groups_get_welchs_t():
    found = two_groups(group("a", A), group("b", B[:3]), CLOSER)
    wanted = stats.ttest_ind(A, B[:3], equal_var=False)
    assert found.test == "Welch's t test"
    assert found.pairing == ""
    assert found.p == pytest.approx(wanted.pvalue, abs=1e-8)
    assert found.effect is not None
    assert found.effect.value == pytest.approx(np.mean(A) - np.mean(B[:3]))
    assert found.effect.unit == "nats"
    assert found.supports
    assert found.ranking == ("a", "b")


def test_the_same_seeds_are_paired_in_whatever_order_they_come():
    a = group("a", A, seed=[0, 1, 2, 3])
    b = group("b", [B[i] for i in (2, 0, 3, 1)], seed=[2, 0, 3, 1])
    found = two_groups(a, b, CLOSER)
    assert (found.test, found.pairing) == ("paired t test", "paired by seed")
    assert found.p == pytest.approx(stats.ttest_rel(A, B).pvalue, abs=1e-8)
    assert found.standardised is not None
    assert found.standardised.name == "Hedges' g of the pairs"


def test_seeds_that_stand_twice_are_paired_by_what_else_the_groups_share():
    factors = {"lr": [1e-4, 1e-3, 1e-4, 1e-3], "seed": [0, 0, 1, 1]}
    found = two_groups(group("a", A, **factors), group("b", B, **factors), CLOSER)
    assert found.pairing == "paired by lr and seed"
    other = factors | {"lr": [1e-3, 1e-2, 1e-3, 1e-2]}
    assert two_groups(group("a", A, **factors), group("b", B, **other), CLOSER).pairing == ""


def test_other_seeds_or_a_missing_one_are_not_paired():
    a = group("a", A, seed=[0, 1, 2, 3])
    assert two_groups(a, group("b", B, seed=[4, 5, 6, 7]), CLOSER).pairing == ""
    assert two_groups(a, group("b", B[:3], seed=[0, 1, 2]), CLOSER).pairing == ""
    assert two_groups(group("a", A, lr=[1, 2, 3, 4]), group("b", B, lr=[1, 2, 3, 4]), CLOSER).pairing == ""


def test_the_claim_has_a_direction():
    found = two_groups(group("b", B), group("a", A), CLOSER)
    assert not found.supports
    assert found.ranking == ("a", "b")
    assert two_groups(group("b", B), group("a", A), Claim("differ", 0, "")).supports


def test_groups_without_spread_are_exact_and_untested():
    found = two_groups(group("a", [0.0] * 3), group("b", [0.3, 0.1 + 0.2, 0.3]), CLOSER)
    assert found.p is None
    assert found.standardised is None
    assert found.effect is not None
    assert (found.effect.value, found.effect.low, found.effect.high) == pytest.approx((-0.3, -0.3, -0.3))
    assert "nothing to test" in found.warnings[0]


def test_one_group_without_spread_is_tested_against_the_other():
    found = two_groups(group("a", [0.0] * 4), group("b", B), CLOSER)
    assert found.p == pytest.approx(stats.ttest_1samp(B, 0).pvalue, abs=1e-8)


def test_permutation_by_counting():
    seen = abs(np.mean(A) - np.mean(B))
    both = A + B
    count = total = 0
    for chosen in itertools.combinations(range(8), 4):
        rest = [both[i] for i in range(8) if i not in chosen]
        count += abs(np.mean([both[i] for i in chosen]) - np.mean(rest)) >= seen - 1e-12
        total += 1
    assert permutation(A, B, together=False) == (pytest.approx(count / total), "exact permutation test")
    d = np.subtract(A, B)
    flips = [
        abs(np.mean(d * signs)) >= abs(d.mean()) - 1e-12 for signs in itertools.product((1, -1), repeat=4)
    ]
    assert permutation(A, B, together=True)[0] == pytest.approx(np.mean(flips))


def test_a_small_permutation_p_says_that_it_cannot_be_smaller():
    notes = two_groups(group("a", A), group("b", B), CLOSER).beside
    assert any("p = 0.029, the smallest that so few runs can give" in note for note in notes)
    notes = two_groups(group("a", A), group("b", [0.1, 0.2, 0.3, 0.4]), CLOSER).beside
    assert not any("smallest" in note for note in notes)


def test_eight_runs_a_group_get_a_bootstrap_interval_beside():
    rng = np.random.default_rng(0)
    notes = two_groups(
        group("a", rng.normal(size=8).tolist()), group("b", rng.normal(size=8).tolist()), CLOSER
    ).beside
    assert any(note.startswith("bootstrap (BCa") and note.endswith("nats") for note in notes)


def test_student_and_welch_where_they_are_asked_for_do_not_pair():
    seeds = {"seed": [0, 1, 2, 3]}
    a, b = group("a", A, **seeds), group("b", B, **seeds)
    found = two_groups(a, b, CLOSER, "student")
    wanted = stats.ttest_ind(A, B)
    assert (found.test, found.pairing) == ("Student's t test", "")
    assert found.p == pytest.approx(wanted.pvalue, abs=1e-8)
    ends = wanted.confidence_interval()
    assert found.effect is not None
    assert (found.effect.low, found.effect.high) == pytest.approx((ends.low, ends.high), abs=1e-8)
    assert "the runs are partners by seed" in found.warnings[0]
    welch = two_groups(a, b, CLOSER, "welch")
    assert welch.p == pytest.approx(stats.ttest_ind(A, B, equal_var=False).pvalue, abs=1e-8)


def test_a_permutation_test_where_it_is_asked_for():
    found = two_groups(group("a", A), group("b", B), CLOSER, "permutation")
    assert (found.test, found.p) == ("exact permutation test", permutation(A, B, together=False)[0])
    assert found.beside[0].startswith("Welch's t test: p = ")
    assert found.warnings == ()
    seeds = {"seed": [0, 1, 2, 3]}
    found = two_groups(group("a", A, **seeds), group("b", B, **seeds), CLOSER, "permutation")
    assert (found.test, found.p) == ("exact sign-flip test of the pairs", 0.125)
    assert "even a perfect order of so few runs gives p = 0.125" in found.warnings[0]
