# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.oneway import anova_oneway

from tunescope.stats.claim import Claim
from tunescope.stats.finding import GroupSummary
from tunescope.stats.groups import by_kruskal, post_hoc, rank_permutation, several_groups

HIGHER = Claim("acc differs between a, b and c", 1, "")
VALUES = {"a": [0.61, 0.64, 0.60, 0.66], "b": [0.71, 0.75, 0.70], "c": [0.62, 0.58, 0.69, 0.65, 0.6]}


def groups(values: dict[str, list[float]]) -> list[GroupSummary]:
    return [
        GroupSummary(
            name, len(v), float(np.mean(v)), None, None, tuple(v), ({},) * len(v), (name,) * len(v), {}
        )
        for name, v in values.items()
    ]


def test_welchs_anova_by_hand_and_by_statsmodels():
    found = several_groups(groups(VALUES), HIGHER)
    samples = [np.array(v) for v in VALUES.values()]
    n = [len(v) for v in samples]
    means = [sum(v) / len(v) for v in samples]
    weights = [k / (sum((v - m) ** 2) / (k - 1)) for k, m, v in zip(n, means, samples, strict=True)]
    grand = sum(w * m for w, m in zip(weights, means, strict=True)) / sum(weights)
    above = sum(w * (m - grand) ** 2 for w, m in zip(weights, means, strict=True)) / 2
    lost = sum((1 - w / sum(weights)) ** 2 / (k - 1) for w, k in zip(weights, n, strict=True))
    f, df = above / (1 + 2 * (3 - 2) / (9 - 1) * lost), (9 - 1) / (3 * lost)
    assert found.p == pytest.approx(stats.f.sf(f, 2, df), abs=1e-8)
    assert found.p == pytest.approx(anova_oneway(samples, use_var="unequal").pvalue, abs=1e-8)
    assert found.standardised is not None
    assert found.standardised.value == pytest.approx(2 * (f - 1) / (2 * (f - 1) + 12), abs=1e-8)
    assert found.test == "Welch's analysis of variance"


def test_the_effect_holds_for_all_pairs_at_once():
    found = several_groups(groups(VALUES), HIGHER)
    wanted = stats.ttest_ind(VALUES["b"], VALUES["a"], equal_var=False).confidence_interval(1 - 0.05 / 3)
    assert found.effect is not None
    assert found.effect.name == "difference b − a"
    assert (found.effect.low, found.effect.high) == pytest.approx((wanted.low, wanted.high), abs=1e-8)


def test_pairs_are_welch_and_holm():
    found = post_hoc(groups(VALUES))
    p = [stats.ttest_ind(x, y, equal_var=False).pvalue for x, y in itertools.combinations(VALUES.values(), 2)]
    assert [pair.p for pair in found] == pytest.approx(p, abs=1e-8)
    first, second, third = sorted(p)
    steps = [min(1, 3 * first)]
    steps.append(max(steps[-1], min(1, 2 * second)))
    steps.append(max(steps[-1], third))
    assert sorted(pair.p_corrected or 0 for pair in found) == pytest.approx(steps, abs=1e-8)


def test_best_comes_first():
    assert several_groups(groups(VALUES), HIGHER).ranking == ("b", "c", "a")
    assert several_groups(groups(VALUES), Claim("", -1, "")).ranking == ("a", "c", "b")


def test_a_group_without_spread_is_read_by_ranks():
    found = several_groups(groups(VALUES | {"a": [1.0, 1.0, 1.0]}), HIGHER)
    assert found.test == "Kruskal–Wallis permutation test"
    assert "a does not vary" in found.why
    assert found.p == rank_permutation([[1.0, 1.0, 1.0], VALUES["b"], VALUES["c"]])
    assert [pair.p is None for pair in found.pairs] == [False, False, False]


def test_no_spread_at_all_is_not_tested():
    found = several_groups(groups({"a": [1.0] * 3, "b": [2.0] * 3, "c": [2.0] * 3}), HIGHER)
    assert found.p is None
    assert [pair.p_corrected for pair in found.pairs] == [None, None, None]
    assert "nothing to test" in found.warnings[0]


def test_rank_permutation_by_counting_kruskals_h():
    samples = [[1.0, 2.0], [3.0, 5.0], [2.0, 6.0]]
    flat = list(itertools.chain(*samples))
    seen = stats.kruskal(*samples).statistic
    found = [
        stats.kruskal(order[:2], order[2:4], order[4:]).statistic >= seen - 1e-9
        for order in itertools.permutations(flat)
    ]
    assert rank_permutation(samples) == pytest.approx(np.mean(found), abs=1e-12)
    assert len(found) == math.factorial(6)


def test_kruskal_and_dunn_where_they_are_asked_for():
    found = by_kruskal(groups(VALUES), HIGHER)
    wanted = stats.kruskal(*VALUES.values())
    assert found.test == "Kruskal–Wallis test"
    assert found.p == pytest.approx(wanted.pvalue, abs=1e-8)
    assert found.standardised is not None
    assert found.standardised.value == pytest.approx(wanted.statistic / 11, abs=1e-8)
    # without ties Dunn's z is the difference of mean ranks over √(N(N + 1)/12·(1/nᵢ + 1/nⱼ))
    ranks = stats.rankdata([v for values in VALUES.values() for v in values])
    a, b, c = ranks[:4], ranks[4:7], ranks[7:]
    raw = []
    for x, y in ((a, b), (a, c), (b, c)):
        z = (x.mean() - y.mean()) / math.sqrt(variance_of_ranks(ranks) * (1 / len(x) + 1 / len(y)))
        raw.append(2 * stats.norm.sf(abs(z)))
    assert [pair.p for pair in found.pairs] == pytest.approx(raw, abs=1e-8)
    assert min(pair.p_corrected or 0 for pair in found.pairs) == pytest.approx(3 * min(raw), abs=1e-8)


def variance_of_ranks(ranks: np.ndarray) -> float:
    """With ties too it is the ranks' own variance, which the formula writes out."""
    return float(ranks.var(ddof=1))


def test_kruskal_of_few_runs_counts_all_arrangements():
    few = {name: values[:3] for name, values in VALUES.items()}
    found = by_kruskal(groups(few), HIGHER)
    assert found.p == rank_permutation(list(few.values()))
    assert "counts all arrangements" in found.why


def test_kruskal_of_many_runs_is_by_chi_squared():
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=9).round(1).tolist() for name in "abcd"}
    found = by_kruskal(groups(values), HIGHER)
    assert found.p == pytest.approx(stats.kruskal(*values.values()).pvalue, abs=1e-8)
    assert "chi squared" in found.why


def test_kruskal_of_one_value_tests_nothing():
    found = by_kruskal(groups({"a": [1.0] * 3, "b": [1.0] * 3, "c": [1.0] * 3}), HIGHER)
    assert found.p is None
