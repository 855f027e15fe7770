# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from tunescope.stats.claim import Claim
from tunescope.stats.finding import Finding, GroupSummary
from tunescope.stats.groups import rank_permutation
from tunescope.stats.ranks import mann_whitney, wilcoxon

HIGHER = Claim("acc is higher for a than for b", 1, "nats")
# Hollander & Wolfe (1973), depression scale factor, before and after tranquillisers
BEFORE = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
AFTER = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
A, B = [0.12, 0.15, 0.11, 0.18, 0.2], [0.31, 0.29, 0.42, 0.14]


def group(name: str, values: Sequence[float], seeds: Sequence[int] = ()) -> GroupSummary:
    factors = tuple({"seed": seed} for seed in seeds) or ({},) * len(values)
    runs = tuple(f"{name}{i}" for i in range(len(values)))
    return GroupSummary(
        name, len(values), float(np.mean(values)), None, None, tuple(values), factors, runs, {}
    )


def paired(a: Sequence[float], b: Sequence[float]) -> Finding:
    seeds = range(len(a))
    return wilcoxon(group("a", a, seeds), group("b", b, seeds), HIGHER)


def test_mann_whitney_agrees_with_scipy():
    found = mann_whitney(group("a", A), group("b", B), HIGHER)
    assert found.p == pytest.approx(stats.mannwhitneyu(A, B, method="exact").pvalue, abs=1e-8)
    assert (found.test, found.supports, found.ranking) == ("Mann–Whitney U test", False, ("b", "a"))
    assert found.standardised is not None
    assert found.standardised.name == "Cliff's delta"
    assert found.effect is not None
    assert (found.effect.unit, found.warnings) == ("nats", ())
    assert found.detectable is not None


def test_tied_values_are_counted_or_read_off_the_normal_curve():
    tied = [0.12, 0.12, 0.14]
    assert mann_whitney(group("a", A), group("b", tied), HIGHER).p == rank_permutation([A, tied])
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 9, 12).astype(float).tolist() for _ in range(2))
    found = mann_whitney(group("a", a), group("b", b), HIGHER)
    assert found.p == pytest.approx(stats.mannwhitneyu(a, b, method="asymptotic").pvalue, abs=1e-8)
    assert "normal curve" in found.why


def test_rounding_is_a_tie():
    exact, rounded = [0.3, 0.3, 0.5], [0.1 + 0.2, 0.1 + 0.2, 0.2]
    found = mann_whitney(group("a", exact), group("b", rounded), HIGHER)
    assert found.p == rank_permutation([[0.3, 0.3, 0.5], [0.3, 0.3, 0.2]])


def test_partners_that_are_not_used_and_runs_too_few_are_told():
    found = mann_whitney(group("a", A[:3], [0, 1, 2]), group("b", B[:3], [2, 1, 0]), HIGHER)
    assert found.p == pytest.approx(0.1)
    assert "the runs are partners by seed" in found.warnings[0]
    assert "even a perfect order of so few runs gives p = 0.1" in found.warnings[1]
    assert found.detectable is None


def test_wilcoxon_on_hollander_and_wolfes_example():
    found = paired(BEFORE, AFTER)
    assert found.p == pytest.approx(0.0390625, abs=1e-8)
    assert found.p == pytest.approx(stats.wilcoxon(BEFORE, AFTER).pvalue, abs=1e-8)
    assert found.effect is not None
    # as R's wilcox.test gives them
    assert (found.effect.value, found.effect.low, found.effect.high) == pytest.approx((0.46, 0.01, 0.786))
    assert (found.supports, found.pairing) == (True, "paired by seed")


def test_wilcoxon_pairs_by_seed_in_whatever_order():
    a, b = group("a", BEFORE, range(9)), group("b", AFTER[::-1], range(8, -1, -1))
    assert wilcoxon(a, b, HIGHER).p == pytest.approx(0.0390625, abs=1e-8)


def test_wilcoxon_ties_differences_that_only_rounding_tells_apart():
    found = paired([0.3, 0.2, 0.5, 0.9, 0.6], [0.2, 0.1, 0.6, 0.5, 0.4])
    assert found.p == pytest.approx(stats.wilcoxon([0.1, 0.1, -0.1, 0.4, 0.2]).pvalue, abs=1e-8)


def test_wilcoxon_without_partners_or_without_differences_tests_nothing():
    lonely = wilcoxon(group("a", A), group("b", B), HIGHER)
    assert (lonely.p, lonely.effect) == (None, None)
    assert "needs a partner with the same seed" in lonely.warnings[0]
    same = paired(A, A)
    assert same.p is None
    assert "no pair differs" in same.warnings[0]


def test_mann_whitney_of_one_value_tests_nothing():
    found = mann_whitney(group("a", [0.0] * 3), group("b", [0.0] * 4), HIGHER)
    assert found.p is None
    assert "nothing to test" in found.warnings[0]
