# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
import math

import numpy as np
import planted_heads as planted
import pytest
from scipy import stats

from tunescope.stats.head_comparison import PAIRED, SEPARATE, TOO_FEW, compare, difference
from tunescope.stats.head_pairs import settings_of
from tunescope.stats.head_sentences import sentences
from tunescope.stats.head_side import side
from tunescope.stats.headwise import headwise


def two(made):
    return list(settings_of(headwise(made)).values())


def test_the_planted_heads_are_found_on_their_side():
    full, lora = two(planted.table())
    found = compare(full, lora)
    assert [(each.tower, each.component) for each in found] == [("vision", "trained"), ("vision", "text")]
    first, second = found[0].first, found[0].second
    assert (first.setting, first.importance, first.seeds) == ("full lr=0.0001", "importance_pre", (0, 1, 2))
    assert found[1].first.importance == "importance.base"
    for run in first.runs:
        assert run.cases is not None
        assert [(case.layer, case.head) for case in run.cases.important_but_static] == [planted.STATIC]
        assert [(case.layer, case.head) for case in run.cases.plastic_but_unimportant] == [planted.PLASTIC]
    assert {name: effect.value for name, effect in first.counts.items()} == {
        "important_but_static": 1,
        "plastic_but_unimportant": 1,
        "counter_examples": 2,
    }
    assert (first.expected, second.counts["counter_examples"].value) == (12 / 8, 0)
    assert second.relation is not None
    assert second.relation.spearman is not None
    assert second.relation.spearman.value == pytest.approx(1)


def test_every_number_against_plain_loops():
    full, lora = two(planted.table())
    found = compare(full, lora)[0]
    moved = {group: [planted.update(group, seed).mean() for seed in range(3)] for group in ("full", "lora")}
    apart = [b - a for a, b in zip(moved["full"], moved["lora"], strict=True)]
    wanted = stats.t.interval(0.95, 2, np.mean(apart), stats.sem(apart))
    assert found.moved is not None
    assert found.moved.how == PAIRED
    assert found.moved.effect.value == pytest.approx(np.mean(apart))
    assert (found.moved.effect.low, found.moved.effect.high) == pytest.approx(wanted)
    rho = stats.spearmanr(planted.importance("full", 0).ravel(), planted.update("full", 0).ravel()).statistic
    assert found.rho is not None
    assert found.rho.effect.value == pytest.approx(1 - rho)
    alike = found.alike["update_relative"]
    tau = stats.kendalltau(planted.update("full", 0).ravel(), planted.update("lora", 0).ravel()).statistic
    assert alike.between is not None
    assert alike.between.kendall.value == pytest.approx(tau)
    assert alike.first is not None
    assert alike.first.kendall.value == pytest.approx(1)
    assert (alike.heads, alike.quarter, alike.both) == (12, 3, ((2, 2), (2, 3)))
    assert "importance.base" not in found.alike
    assert found.first.layers[1] is not None
    assert found.first.layers[1].value == pytest.approx(planted.update("full", 1)[1].mean())


def test_differences_are_paired_only_where_every_run_has_its_partner():
    a = [(0, 1.0), (1, 2.0), (2, 4.0)]
    found = difference(a, [(2, 5.0), (0, 3.0), (1, 3.5)])
    assert found is not None
    assert found.how == PAIRED
    for other in (
        [(0, 3.0), (1, 3.5), (3, 5.0)],
        [(None, 3.0), (1, 3.5), (2, 5.0)],
        [(0, 3.0), (0, 3.5), (2, 5.0)],
    ):
        found = difference(a, other)
        assert found is not None
        assert found.how == SEPARATE
        wanted = stats.ttest_ind(
            [x for _, x in other], [1.0, 2.0, 4.0], equal_var=False
        ).confidence_interval()
        assert (found.effect.low, found.effect.high) == pytest.approx((wanted.low, wanted.high))
    few = difference(a, [(0, 3.0), (1, math.nan), (2, 5.0)])
    assert few is not None
    assert (few.how, few.effect.low) == (TOO_FEW, None)
    assert few.effect.value == pytest.approx(4 - 7 / 3)
    assert difference(a, [(0, math.nan)]) is None


def test_sentences_say_what_there_is_and_what_there_is_not():
    full, lora = two(planted.table())
    lines = sentences(compare(full, lora))
    text = "\n".join(lines)
    assert lines[0].startswith("full lr=0.0001 (3 runs, seeds 0, 1, 2) against lora lr=0.001 (3 runs")
    assert (
        "1 heads a run are important but static and 1 plastic but unimportant: 2 counter-examples, where"
        in text
    )
    assert "Heads moved further in full lr=0.0001 than in lora lr=0.001: mean relative update 0.986" in text
    assert "Heads of one run are not replicates" in text
    assert "Fewer than three" not in text
    assert all(line.endswith((".", ":")) for line in lines)


def test_one_run_speaks_of_no_other_seed():
    full, lora = two(planted.table(seeds=(4,)))
    found = compare(full, lora)
    text = "\n".join(sentences(found))
    assert "Fewer than three runs of full lr=0.0001 and lora lr=0.001" in text
    assert "over heads)" in text
    assert "too few runs for an interval" in text
    assert found[0].moved is not None
    assert found[0].moved.effect.low is None
    assert "no setting has two seeds to compare" in text


def test_a_setting_whose_updates_cannot_be_measured():
    full, lora = two(planted.table())
    apart = []
    for run in lora:
        values = {name: own for name, own in run.values.items() if not name.startswith("update")}
        apart.append(type(run)(**{**vars(run), "values": values}))
    found = compare(full, apart)[0]
    assert (found.moved, found.rho, found.second.relation, found.second.update) == (None, None, None, None)
    assert "update_relative" not in found.alike
    text = "\n".join(sentences([found]))
    assert "lora lr=0.001: importance and relative update were not both measured" in text
    assert "Heads moved" not in text


def test_without_importance_before_tuning_the_one_after_it_stands_in_and_is_named():
    full, _ = two(planted.table())
    after = []
    for run in full:
        values = {
            name: own for name, own in run.values.items() if name not in ("importance_pre", "importance.base")
        }
        after.append(type(run)(**{**vars(run), "values": values}))
    found = side([run for run in after if run.component == "trained"])
    assert found.importance == "importance"
    assert "rho of importance after tuning and relative update" in "\n".join(sentences(compare(after, after)))
