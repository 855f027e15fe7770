# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from tunescope.stats.head_agreement import agreements, jackknife
from tunescope.stats.headwise import RunHeads


def run(setting, seed, values, component="trained", **factors):
    own = {"update": np.asarray(values, float)}
    said = dict(factors) if seed is None else dict(factors) | {"seed": seed}
    return RunHeads("", setting, f"{setting} {seed}", setting, said, "vision", component, own, {})


def some(setting, seeds, shape=(3, 4), noise=0.5):
    base = np.random.default_rng(0).normal(size=shape)
    return [
        run(setting, seed, base + noise * np.random.default_rng([len(setting), seed]).normal(size=shape))
        for seed in seeds
    ]


def test_against_plain_loops():
    runs = [*some("full", (0, 1, 2)), *some("lora", (2, 1, 0, 7))]
    found = agreements(runs, "update")
    assert len(found) == 1
    full, lora = (
        {r.seed: r.values["update"].ravel() for r in runs if r.setting == s} for s in ("full", "lora")
    )
    taus = [stats.kendalltau(full[seed], lora[seed]).statistic for seed in (0, 1, 2)]
    between = found[0].of("lora", "full")
    assert between is not None
    half = 4.302652729911275 * np.std(taus, ddof=1) / math.sqrt(3)
    assert between.seeds == 3
    assert between.kendall.value == pytest.approx(sum(taus) / 3)
    assert (between.kendall.low, between.kendall.high) == pytest.approx(
        (np.mean(taus) - half, min(1, np.mean(taus) + half))
    )
    apart = [
        stats.kendalltau(full[a], lora[b]).statistic for a in (0, 1, 2) for b in (0, 1, 2) if a != b
    ]  # of the seeds that both have, each with the others
    assert between.across is not None
    assert between.across.value == pytest.approx(sum(apart) / 6)
    within = found[0].of("lora", "lora")
    assert within is not None
    rhos = [stats.spearmanr(lora[a], lora[b]).statistic for a, b in combinations((2, 1, 0, 7), 2)]
    assert (within.seeds, within.spearman.value) == (4, pytest.approx(sum(rhos) / 6))
    matrix = found[0].matrix()
    assert matrix.shape == (2, 2)
    assert matrix[0, 1] == matrix[1, 0] == between.kendall.value
    assert found[0].matrix("spearman")[1, 1] == within.spearman.value


def test_the_jackknife_takes_one_run_out_at_a_time():
    pairs = {(0, 1): 0.1, (0, 2): 0.2, (0, 3): 0.3, (1, 2): 0.5, (1, 3): 0.1, (2, 3): 0.4}
    without = []
    for run_out in range(4):
        kept = [value for (a, b), value in pairs.items() if run_out not in (a, b)]
        without.append(sum(kept) / len(kept))
    mean = sum(without) / 4
    error = math.sqrt(3 / 4 * sum((value - mean) ** 2 for value in without))
    half = stats.t.ppf(0.975, 3) * error
    found = jackknife("tau", pairs)
    assert found.value == pytest.approx(1.6 / 6)
    assert (found.low, found.high) == pytest.approx((1.6 / 6 - half, 1.6 / 6 + half))


def test_of_a_mean_the_jackknife_is_students_interval():
    """Where two runs' statistic is the mean of their two numbers, it estimates the mean of the numbers."""
    x = [0.1, 0.3, -0.2, 0.25]
    found = jackknife("mean", {(i, j): (x[i] + x[j]) / 2 for i, j in combinations(range(4), 2)})
    wanted = stats.t.interval(0.95, 3, np.mean(x), stats.sem(x))
    assert (found.low, found.high) == pytest.approx(wanted)


def test_what_cannot_be_compared_is_left_out():
    runs = [
        *some("full", (0, 1)),
        *some("small", (0, 1), shape=(2, 4)),
        *some("late", (8, 9)),
        run("frozen", 0, np.zeros((3, 4))),
        run("silent", None, np.arange(12.0).reshape(3, 4)),
        run("text", 0, np.arange(12.0).reshape(3, 4), component="text"),
    ]
    found, text = agreements(runs, "update")
    assert (text.component, text.settings, text.pairs) == ("text", ("text",), ())
    assert found.settings == ("full", "small", "late", "frozen", "silent")
    assert {(pair.first, pair.second) for pair in found.pairs} == {(s, s) for s in ("full", "small", "late")}
    own = found.of("full", "full")
    assert own is not None
    assert (own.seeds, own.kendall.low, own.across) == (2, None, own.kendall)  # two runs: no interval
    matrix = found.matrix()
    assert np.isnan(matrix[0, 1:]).all()
    assert math.isnan(matrix[3, 3])
    assert agreements(runs, "importance") == []


def test_two_equal_settings_agree_across_seeds_as_much_as_each_with_itself():
    """At the same seed they agree more where a seed's luck is shared, as the order of examples is."""
    runs = [*some("a", range(6), (6, 8)), *some("bb", range(6), (6, 8))]
    for seed in range(6):
        luck = 0.5 * np.random.default_rng(seed + 50).normal(size=(6, 8))
        for each in runs:
            if each.seed == seed:
                np.add(each.values["update"], luck, out=each.values["update"])
    found = agreements(runs, "update")[0]
    across, same = found.matrix("across"), found.matrix()
    assert across[0, 1] == pytest.approx((across[0, 0] + across[1, 1]) / 2, abs=0.06)
    assert same[0, 1] > across[0, 1] + 0.1
