# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# SciPy ships no types: its named results are taken for plain tuples
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tunescope.stats.answer import Answer, answer
from tunescope.stats.claim import Claim
from tunescope.stats.finding import GroupSummary
from tunescope.stats.mixed_model import mixed_groups
from tunescope.study.question import Question

LAYERS = 5
PROFILE = 3 * np.sin(np.arange(LAYERS))
# Student (1908), Biometrika 6: hours of sleep that ten patients gained with two drugs
SLEEP = {
    "a": [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    "b": [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
}
Values = Mapping[str, Sequence[Sequence[float]]]


@pytest.fixture
def ask(make_table):
    """Ask of groups of runs, each given by its layers; groups have the same seeds if `paired`."""

    def ask(values: Values, paired: bool = False, **more: Any) -> Answer:
        runs = [
            {
                "group": group,
                "factors": {"seed": i + (0 if paired else 100 * place)},
                "rows": [
                    {"metric": "m.x", "layer": layer, "head": 0, "value": float(value)}
                    for layer, value in enumerate(layers)
                ],
            }
            for place, (group, own) in enumerate(values.items())
            for i, layers in enumerate(own)
        ]
        said: dict[str, Any] = {"ask": "?", "metric": "m.x", "compare": tuple(values), "unit": "layer"}
        said["test"] = "mixed_model"
        return answer(make_table(runs), [Question(**said | more)])[0]

    return ask


def made(n: int, groups: str = "ab", between: float = 0.5, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: PROFILE + 0.3 * i + between * rng.normal(size=(n, 1)) + rng.normal(size=(n, LAYERS))
        for i, name in enumerate(groups)
    }


@pytest.mark.parametrize("between", [0.0, 0.1, 2.0])
def test_two_groups_are_the_t_test_of_the_runs_means(ask, between):
    values = made(4, between=between)
    found = ask(values)
    wanted = stats.ttest_ind(values["a"].mean(1), values["b"].mean(1))
    ends = wanted.confidence_interval()
    assert found.p == pytest.approx(wanted.pvalue, abs=1e-8)
    assert (found.effect.low, found.effect.high) == pytest.approx((ends.low, ends.high), abs=1e-8)
    assert found.test == "mixed model with the run as random effect"
    assert "8 runs as the random effect, each layer's mean as a fixed one, 6 degrees of freedom" in found.why
    assert found.beside[0].startswith("intraclass correlation ")
    assert found.warnings == ()
    assert found.sentence.endswith("4 + 4 runs with all their layers).")
    assert [group.n for group in found.groups] == [4, 4]
    assert Answer.from_json(found.to_json()) == found


def test_the_same_seeds_are_the_paired_t_test(ask):
    values = made(5, seed=1)
    found = ask(values, paired=True, unit="head")
    wanted = stats.ttest_rel(values["a"].mean(1), values["b"].mean(1))
    ends = wanted.confidence_interval()
    assert found.p == pytest.approx(wanted.pvalue, abs=1e-8)
    assert (found.effect.low, found.effect.high) == pytest.approx((ends.low, ends.high), abs=1e-8)
    assert (found.pairing, found.warnings) == ("paired by seed", ())
    assert found.test.startswith("mixed model of paired differences")
    assert "heads of one pair share its luck: 5 pairs as the random effect" in found.why
    assert found.detectable.name == "Cohen's d of the pairs"


def test_students_sleep(ask):
    layers = {name: [[v - 0.4, v + 0.1, v + 0.3] for v in own] for name, own in SLEEP.items()}
    rng = np.random.default_rng(0)
    noise = {name: (lambda e: e - e.mean(1, keepdims=True))(rng.normal(size=(10, 3))) for name in SLEEP}
    found = ask({name: np.array(own) + noise[name] for name, own in layers.items()}, paired=True)
    assert found.p == pytest.approx(0.00283289, abs=1e-8)  # t.test(extra ~ group, sleep, paired = TRUE) in R
    assert (found.effect.low, found.effect.high) == pytest.approx((-2.4598858, -0.7001142), abs=1e-7)


def test_three_groups_are_the_analysis_of_variance_of_the_runs_means(ask):
    values = made(4, "abc", seed=2)
    found = ask(values)
    means = {name: own.mean(1) for name, own in values.items()}
    wanted = stats.f_oneway(*means.values())
    assert found.p == pytest.approx(wanted.pvalue, abs=1e-8)
    f = float(wanted.statistic)
    assert found.standardised.value == pytest.approx(max(0, 2 * (f - 1) / (2 * (f - 1) + 12)), abs=1e-8)
    residual = np.mean([own.var(ddof=1) for own in means.values()])
    error = np.sqrt(residual * 2 / 4)
    for pair in found.pairs:
        gap = means[pair.first].mean() - means[pair.second].mean()
        assert pair.p == pytest.approx(2 * stats.t.sf(abs(gap) / error, 9), abs=1e-8)
    half = stats.t.isf(0.025 / 3, 9) * error
    assert found.effect.high - found.effect.value == pytest.approx(half, abs=1e-8)
    assert found.ranking == tuple(sorted(means, key=lambda name: -means[name].mean()))


def test_runs_with_other_layers_are_held_at_the_same_ones(ask):
    rng = np.random.default_rng(3)
    values = {name: [own[: rng.integers(2, 6)] for own in runs] for name, runs in made(4, seed=3).items()}
    found = ask(values)
    assert found.warnings[0].startswith("not every run has every layer")
    assert found.standardised is None
    deeper = {"a": values["a"], "b": [[*own, 9.0, 9.0] for own in made(4, seed=3)["b"]]}
    together = ask(deeper, paired=True)
    assert together.warnings == found.warnings
    assert (together.pairing, together.standardised) == ("paired by seed", None)
    resampled = ask(deeper, test="cluster_bootstrap")
    assert "'test: mixed_model' compares them at the same layers" in resampled.warnings[0]
    assert resampled.standardised is None
    alike = {name: [PROFILE[: len(own)] for own in runs] for name, runs in values.items()}
    moved = ask(
        {name: [v + 7 * p for v, p in zip(values[name], alike[name], strict=True)] for name in values}
    )
    assert (moved.p, moved.effect.value) == pytest.approx((found.p, found.effect.value), abs=1e-8)


@pytest.mark.parametrize("between", [0.0, 0.5])
def test_ragged_null_studies_are_rejected_no_more_than_promised(between):
    rng = np.random.default_rng(4)
    p = []
    for _ in range(200):
        groups = []
        for name in "ab":
            rows = [(run, layer) for run in range(5) for layer in range(rng.integers(2, 6))]
            luck = between * rng.normal(size=5)
            values = tuple(PROFILE[layer] + luck[run] + rng.normal() for run, layer in rows)
            factors = tuple({"seed": f"{name}{run}", "layer": layer} for run, layer in rows)
            runs = tuple(f"{name}{run}" for run, _ in rows)
            groups.append(GroupSummary(name, len(rows), None, None, None, values, factors, runs, {}))
        p.append(mixed_groups(groups, Claim("", 0, "")).p)
    assert np.mean(np.array(p) < 0.05) <= 0.06
    assert min(p) > 1e-4


def test_what_cannot_be_fitted_is_said(ask):
    same = ask({"a": [[1.0] * 3] * 3, "b": [[1.0] * 3] * 3})
    assert (same.p, same.verdict) == (None, "unclear")
    assert "the mixed model cannot be fitted" in same.sentence
    three = ask({name: [[1.0] * 3] * 3 for name in "abc"})
    assert three.sentence.startswith("a 1 [1, 1], b 1 [1, 1], c 1 [1, 1] (the mixed model cannot be fitted")
    assert ask({"a": [[1.0], [2.0], [4.0]], "b": [[1.0], [3.0], [3.0]]}).p is None
    paired = ask({"a": [[1.0, 2.0]] * 3, "b": [[1.0, 2.0]] * 3}, paired=True)
    assert (paired.p, paired.pairing) == (None, "paired by seed")


def test_two_runs_are_too_few_however_many_layers(ask):
    for test in ("mixed_model", "cluster_bootstrap"):
        found = ask(made(2), test=test)
        assert found.verdict == "not enough runs"
        assert found.p is None
        assert found.effect.low is None
        assert found.sentence.endswith("a has 2 runs and b has 2 runs, a test needs 3 in each group.")
