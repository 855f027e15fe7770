# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# SciPy ships no types: its named results are taken for plain tuples
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tunescope.stats.answer import Answer, answer
from tunescope.study.question import Question


@pytest.fixture
def ask(make_table):
    """Ask of groups of runs, each given by its layers; the runs of every group have these ranks."""

    def ask(values: Mapping[str, Sequence[Sequence[float]]], ranks: Sequence[float], **more: Any) -> Answer:
        runs = [
            {
                "group": group,
                "factors": {"seed": i, "rank": ranks[i]},
                "rows": [
                    {"metric": "m.x", "layer": layer, "value": float(value)}
                    for layer, value in enumerate(layers)
                ],
            }
            for group, own in values.items()
            for i, layers in enumerate(own)
        ]
        said: dict[str, Any] = {"ask": "?", "metric": "m.x", "against": "rank", "unit": "layer"}
        said["test"] = "mixed_model"
        return answer(make_table(runs), [Question(**said | more)])[0]

    return ask


def test_a_trend_is_that_of_the_runs_means(ask):
    ranks = [1.0, 2.0, 3.0, 4.0, 1.0, 2.0]
    rng = np.random.default_rng(5)
    values = {
        name: 3 * np.sin(np.arange(5)) + rng.normal(size=(6, 1)) + rng.normal(size=(6, 5)) for name in "ab"
    }
    found = ask(values, ranks)
    means = np.concatenate([own.mean(1) - own.mean() for own in values.values()])
    x = np.tile(np.array(ranks) - np.mean(ranks), 2)
    slope = x @ means / (x @ x)
    error = np.sqrt(((means - slope * x) ** 2).sum() / 9 / (x @ x))
    half = stats.t.isf(0.025, 9) * error
    assert found.effect.name == "slope within groups for each 1 of rank"
    assert found.p == pytest.approx(2 * stats.t.sf(abs(slope / error), 9), abs=1e-8)
    assert (found.effect.low, found.effect.high) == pytest.approx((slope - half, slope + half), abs=1e-8)
    assert found.standardised.name == "Pearson's r with rank within groups"
    assert "9 degrees of freedom between runs" in found.why
    assert found.sentence.endswith("12 runs with all their layers).")
    pearson = ask(values, ranks, unit="run", test="pearson")
    assert found.p == pytest.approx(pearson.p, abs=1e-8)


def test_a_trend_over_decades_is_for_each_tenfold(ask):
    ranks = [1.0, 10.0, 100.0, 1000.0]
    values = {"a": [[step, 2 * step, step + 0.1 * i] for i, step in enumerate((1.0, 2.1, 2.9, 4.0))]}
    found = ask(values, ranks)
    wanted = stats.linregress([0, 1, 2, 3], [np.mean(own) for own in values["a"]])
    assert found.effect.name == "slope for each tenfold rank"
    assert found.effect.value == pytest.approx(wanted.slope, abs=1e-8)
    assert found.p == pytest.approx(wanted.pvalue, abs=1e-8)
    still = ask({"a": [[1.0, 2.0]] * 4}, ranks)
    assert "the metric has the same value in every run" in still.warnings[0]
    few = ask({"a": values["a"][:2]}, ranks[:2])
    assert few.verdict == "not enough runs"
