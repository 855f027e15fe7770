# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# SciPy ships no types: its named results are taken for plain tuples
import itertools
import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tunescope.results.table import RunValue
from tunescope.stats.answer import answer
from tunescope.stats.depth import friedman, thirds
from tunescope.study.question import Question

METRIC = "attention.entropy.change"
ASKED = Question(ask="Where does attention change?", metric=METRIC, by_depth=True)
RNG = np.random.default_rng(0)
# four runs of six layers: two for each third
LAYERS = RNG.normal([1, 1, 2, 2, 4, 4], 0.3, (4, 6))


def run(seed: int, values: Any, group: str = "lora") -> dict[str, Any]:
    rows = [{"metric": METRIC, "value": float(v), "layer": i} for i, v in enumerate(values)]
    return {"group": group, "factors": {"lr": 1e-3, "seed": seed}, "rows": rows}


def runs(layers: np.ndarray = LAYERS) -> list[dict[str, Any]]:
    return [run(seed, values) for seed, values in enumerate(layers)]


def test_thirds_of_runs_are_compared_within_them(make_table):
    (found,) = answer(make_table(runs()), [ASKED])
    early, middle, late = LAYERS.reshape(4, 3, 2).mean(2).T
    assert [group.name for group in found.groups] == ["early", "middle", "late"]
    assert np.array([group.values for group in found.groups]) == pytest.approx(
        np.array([early, middle, late])
    )
    assert (found.test, found.verdict, found.n) == ("Friedman's test", "yes", 4)
    assert found.ranking == ("late", "middle", "early")
    assert found.standardised.value == pytest.approx(1.0)
    wanted = [stats.ttest_rel(*pair) for pair in ((early, middle), (early, late), (middle, late))]
    assert [pair.p for pair in found.pairs] == pytest.approx([each.pvalue for each in wanted], abs=1e-8)
    ends = stats.ttest_rel(late, early).confidence_interval(1 - 0.05 / 3)
    assert (found.effect.low, found.effect.high) == pytest.approx((ends.low, ends.high), abs=1e-8)
    assert found.sentence.startswith("late ")
    assert "every group differs from every other" in found.sentence
    assert found.sentence.endswith("4 runs, thirds of the same layers).")
    assert type(found).from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_friedman_by_counting():
    values = RNG.normal(size=(3, 3))

    def statistic(ranks: Any) -> float:
        return float(np.sum(np.sum(ranks, axis=0) ** 2))

    seen = statistic(stats.rankdata(values, axis=0).T)
    every = [statistic(ranks) for ranks in itertools.product(itertools.permutations((1, 2, 3)), repeat=3)]
    chi_squared, p, _ = friedman(values)
    assert p == pytest.approx(np.mean(np.array(every) >= seen - 1e-9), abs=1e-12)
    assert chi_squared == pytest.approx(12 / (3 * 3 * 4) * seen - 3 * 3 * 4, abs=1e-8)


def test_friedman_of_many_runs_agrees_with_scipy():
    values = RNG.normal(size=(3, 12)).round(1)
    wanted = stats.friedmanchisquare(*values)
    chi_squared, p, how = friedman(values)
    assert (chi_squared, p) == pytest.approx((wanted.statistic, wanted.pvalue), abs=1e-8)
    assert how == "by chi squared"


def test_no_difference_between_depths_is_rejected_no_more_than_promised():
    rejected = [friedman(RNG.normal(size=(3, 5)) + RNG.normal(size=(1, 5)))[1] < 0.05 for _ in range(200)]
    assert 0.01 <= np.mean(rejected) <= 0.06


def test_two_runs_are_shown_and_not_tested(make_table):
    (found,) = answer(make_table(runs(LAYERS[:2])), [ASKED])
    assert (found.verdict, found.p) == ("not enough runs", None)
    assert found.sentence.endswith("; 2 runs, a test needs 3.")


def test_runs_without_three_layers_or_of_other_groups_take_no_part(make_table):
    table = make_table([*runs(), run(7, [1.0, 2.0]), run(8, LAYERS[0], "full")])
    (found,) = answer(table, [ASKED.model_copy(update={"among": ("lora",)})])
    assert (found.n, found.left_out) == (4, {"fewer than 3 layers": 1})
    (found,) = answer(table, [ASKED])
    assert found.n == 5


def test_a_layer_that_is_not_a_number_leaves_its_run_out(make_table):
    broken = run(9, [1.0, 2.0, float("nan"), 3.0])
    (found,) = answer(make_table([*runs(), broken]), [ASKED])
    assert found.left_out == {f"{METRIC} is not a finite number": 1}


def test_layers_that_do_not_differ_are_not_tested(make_table):
    (found,) = answer(make_table(runs(np.zeros((3, 6)))), [ASKED])
    assert (found.p, found.verdict) == (None, "unclear")
    assert "nothing to test" in found.warnings[0]


@pytest.mark.parametrize(
    ("layers", "sizes"), [(3, (1, 1, 1)), (4, (2, 1, 1)), (12, (4, 4, 4)), (13, (5, 4, 4))]
)
def test_a_run_of_two_groups_counts_once_and_layers_are_split_from_below(layers, sizes):
    values = [
        RunValue("r", name, name, {"seed": 0, "layer": i}, float(i), layer=i)
        for name in ("a", "b")
        for i in reversed(range(layers))
    ]
    found = thirds(values)
    parts = np.split(np.arange(layers), np.cumsum(sizes)[:2])
    assert [third.value for third in found] == [part.mean() for part in parts]
    assert {tuple(third.factors) for third in found} == {("seed",)}
