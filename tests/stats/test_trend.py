# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from tunescope.stats.claim import Claim
from tunescope.stats.coefficient import PEARSON, SPEARMAN
from tunescope.stats.finding import Effect, GroupSummary
from tunescope.stats.trend import Strata, correlated, hold, trend

CLAIM = Claim("m rises or falls with lr", 0, "")
Stratum = tuple[np.ndarray, np.ndarray]


def spearman(used: Sequence[Stratum]) -> tuple[float, float]:
    held, _ = hold(used, "lr", SPEARMAN)
    value, tested = SPEARMAN.value(held), SPEARMAN.tested(held)
    assert value is not None
    assert tested is not None
    return value, tested[0]


def pearson(used: Sequence[Stratum], factor: str) -> Effect | None:
    return correlated(Strata({}, {}, tuple(used)), factor, PEARSON)


def group(name: str, lr: Sequence[float], values: Sequence[float]) -> GroupSummary:
    factors = tuple({"lr": rate, "seed": 0} for rate in lr)
    runs = tuple(f"{name}{i}" for i in range(len(lr)))
    return GroupSummary(name, len(lr), float(np.mean(values)), None, None, tuple(values), factors, runs, {})


def test_one_group_agrees_with_scipy():
    rng = np.random.default_rng(0)
    x = np.array([1e-5, 1e-4, 1e-3] * 2)
    y = np.log10(x) + rng.normal(size=6)

    def correlation(shuffled: np.ndarray) -> float:
        return float(stats.spearmanr(shuffled, y).statistic)

    wanted = stats.permutation_test((x,), correlation, permutation_type="pairings", n_resamples=720)
    found = spearman([(x, y)])
    assert found[0] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-8)
    assert found[1] == pytest.approx(wanted.pvalue, abs=1e-8)


def test_many_runs_agree_with_the_t_approximation():
    rng = np.random.default_rng(1)
    x = rng.normal(size=60)
    y = 0.25 * x + rng.normal(size=60)
    found, wanted = spearman([(x, y)]), stats.spearmanr(x, y)
    assert found[0] == pytest.approx(wanted.statistic, abs=1e-8)
    assert found[1] == pytest.approx(wanted.pvalue, abs=0.01)
    assert spearman([(x, y)]) == found


def test_within_groups_by_counting_every_order():
    strata = [([1.0, 2.0, 2.0], [5.0, 4.0, 9.0]), ([1.0, 3.0, 4.0, 9.0], [0.1, 0.5, 0.2, 0.7])]

    def ranks(values: Sequence[float]) -> list[float]:
        found = [sum(w < v for w in values) + (1 + sum(w == v for w in values)) / 2 for v in values]
        found = [rank / (len(values) + 1) for rank in found]
        return [rank - sum(found) / len(found) for rank in found]

    def rho(orders: Sequence[Sequence[float]]) -> float:
        u = [rank for x in orders for rank in ranks(x)]
        v = [rank for _, y in strata for rank in ranks(y)]
        dot = sum(a * b for a, b in zip(u, v, strict=True))
        return dot / math.sqrt(sum(a * a for a in u) * sum(b * b for b in v))

    seen = rho([x for x, _ in strata])
    orders = itertools.product(*(itertools.permutations(x) for x, _ in strata))
    p = np.mean([abs(rho(order)) >= abs(seen) - 1e-9 for order in orders])
    found = spearman([(np.array(x), np.array(y)) for x, y in strata])
    assert found == pytest.approx((seen, p), abs=1e-8)


def test_groups_with_other_ranges_of_the_factor_do_not_hide_the_trend():
    full = group("full", [1e-6, 1e-5, 1e-4] * 2, [5.0, 6.0, 7.0, 5.1, 6.1, 7.1])
    lora = group("lora", [1e-3, 1e-2, 1e-1] * 2, [1.0, 2.0, 3.0, 1.1, 2.1, 3.1])
    probe = group("probe", [1e-3] * 3, [0.0] * 3)
    found = trend([full, lora, probe], "lr", CLAIM)
    assert found.effect is not None
    assert found.effect.name == "Spearman's rho within groups"
    assert found.effect.value > 0.9
    assert found.p is not None
    assert found.p < 0.001
    assert [g.name for g in found.groups] == ["full", "lora"]
    assert any("over all groups at once" in note and "−" in note for note in found.beside)
    assert "probe has one lr only and takes no part" in found.beside


def test_a_group_that_goes_the_other_way_is_named():
    up = group("up", [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6])
    down = group("down", [1, 2, 3], [3, 2, 1])
    assert trend([up, down], "lr", CLAIM).warnings == ("in down the trend runs the other way",)


def test_a_factor_that_tells_groups_apart_is_read_across_them():
    groups = [group(f"r{r}", [r] * 2, [v, v + 0.1]) for r, v in ((1, 0.1), (2, 0.3), (4, 0.5), (8, 0.9))]
    found = trend(groups, "lr", CLAIM)
    assert found.effect is not None
    x, y = np.repeat([1, 2, 4, 8], 2), [v for g in groups for v in g.values]
    assert found.effect.value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-8)
    assert len(found.groups) == 4


def test_pearson_is_on_the_logarithm_over_a_decade():
    x, y = np.array([1e-5, 1e-4, 1e-3, 1e-2]), np.array([1.0, 1.5, 3.0, 3.5])
    found = pearson([(x, y)], "lr")
    wanted = stats.pearsonr(np.log10(x), y)
    assert found is not None
    assert found.name == "Pearson's r with log10(lr)"
    assert found.value == pytest.approx(wanted.statistic, abs=1e-8)
    assert found.low == pytest.approx(wanted.confidence_interval().low, abs=1e-8)
    short = pearson([(np.array([1.0, 2.0, 4.0, 8.0]), y)], "rank")
    assert short is not None
    assert short.name == "Pearson's r with rank"
    assert short.value == pytest.approx(stats.pearsonr([1, 2, 4, 8], y).statistic, abs=1e-8)


def test_pearson_within_groups_is_the_partial_correlation():
    rng = np.random.default_rng(2)
    strata = [(rng.normal(size=6), rng.normal(size=6) + shift) for shift in (0, 5)]
    x, y = np.concatenate([a for a, _ in strata]), np.concatenate([b for _, b in strata])
    dummies = np.kron(np.eye(2), np.ones((6, 1)))
    rest = [v - dummies @ np.linalg.lstsq(dummies, v, rcond=None)[0] for v in (x, y)]
    found = pearson(strata, "lr")
    assert found is not None
    assert found.value == pytest.approx(stats.pearsonr(*rest).statistic, abs=1e-8)


def test_nothing_that_varies_is_no_trend():
    for lr, values, name in (([1, 1, 1], [1, 2, 3], "lr"), ([1, 2, 3], [5, 5, 5], "the metric")):
        found = trend([group("a", lr, values)], "lr", CLAIM)
        assert found.p is None
        assert found.warnings[0].startswith(f"{name} has the same value")
    found = trend([group("a", [1, 2, 3], [0, 0, 0]), group("b", [1, 1, 1], [1, 2, 3])], "lr", CLAIM)
    assert found.p is None
    assert "within the groups that vary lr" in found.warnings[0]


def test_too_few_orders_are_said_to_be_too_few():
    found = trend([group("a", [1, 2, 3, 4], [1, 2, 3, 4])], "lr", CLAIM)
    assert found.p == pytest.approx(2 / 24)
    assert "even a perfect order gives p = 0.0833" in found.warnings[0]
    assert trend([group("a", [1, 2, 3, 4, 5], [1, 2, 3, 4, 5])], "lr", CLAIM).warnings == ()


def test_shuffled_p_holds_its_level():
    rng = np.random.default_rng(3)
    x = np.repeat([1.0, 2.0, 3.0], 3)
    rejected = 0
    for _ in range(300):
        found = spearman([(x, rng.normal(size=9)), (x + 1, rng.normal(5, 3, size=9))])
        rejected += found[1] < 0.05
    assert rejected / 300 <= 0.08


def test_rounding_has_no_ranks():
    flat = group("flat", [1, 2, 3, 4, 5, 6], [0.3, 0.1 + 0.2] * 3)
    found = trend([flat, group("up", [1, 2, 3], [1, 2, 3])], "lr", CLAIM)
    assert "Spearman's rho of each group: flat – and up 1" in found.beside
    assert found.effect is not None
    assert found.effect.value > 0


def test_two_runs_that_vary_the_factor_are_too_few():
    found = trend([group("a", [1, 2], [1, 2]), group("b", [1, 1, 1], [1, 2, 3])], "lr", CLAIM)
    assert found.p is None
    assert [g.name for g in found.groups] == ["a"]


def test_very_small_numbers_are_numbers():
    x, y = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 5.0])
    small, plain = pearson([(x, y * 1e-200)], "lr"), pearson([(x, y)], "lr")
    assert small is not None
    assert plain is not None
    assert small.value == pytest.approx(plain.value, abs=1e-12)


def test_the_correlation_that_is_asked_for():
    rng = np.random.default_rng(4)
    lr = np.repeat([1e-5, 1e-4, 1e-3, 1e-2], 3)
    y = np.log10(lr) + rng.normal(size=12)
    runs = [group("a", lr.tolist(), y.tolist())]
    linear, ordered, default = (trend(runs, "lr", CLAIM, asked) for asked in ("pearson", "kendall", None))
    wanted = stats.pearsonr(np.log10(lr), y)
    assert linear.effect is not None
    assert linear.effect.name == "Pearson's r with log10(lr)"
    assert (linear.effect.value, linear.p) == pytest.approx((wanted.statistic, wanted.pvalue), abs=1e-8)
    assert linear.standardised == default.effect
    assert default.standardised == linear.effect
    assert ordered.effect is not None
    assert ordered.effect.value == pytest.approx(stats.kendalltau(lr, y).statistic, abs=1e-8)
    assert ordered.test == "Kendall's rank correlation"
    assert trend(runs, "lr", CLAIM, "spearman").p == default.p
