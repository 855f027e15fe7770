# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tunescope.stats.answer import Answer, answer
from tunescope.stats.partial import rho
from tunescope.stats.relation import Run, hold
from tunescope.study.question import Question

RATES = (1e-5, 1e-4, 1e-3, 1e-2)


def question(**more: Any) -> Question:
    return Question(**{"ask": "Does x predict y?", "metric": "m.y", "by": {"metric": "m.x"}} | more)


def runs(group: str, x, y, lr, **more) -> list[dict[str, Any]]:
    return [
        {
            "group": group,
            "factors": {"lr": float(rate), "seed": i} | more,
            "rows": [{"metric": "m.x", "value": float(a)}, {"metric": "m.y", "value": float(b)}],
        }
        for i, (a, b, rate) in enumerate(zip(x, y, lr, strict=True))
    ]


@pytest.fixture
def ask(make_table):
    def asked(studied: list[dict[str, Any]], **more: Any) -> Answer:
        return answer(make_table(studied), [question(**more)])[0]

    return asked


@pytest.fixture
def simpson() -> list[dict[str, Any]]:
    """The learning rate drives both numbers up; at one rate they have nothing to do with each other."""
    rate = np.tile(np.repeat(np.arange(4.0), 4), 2)
    x = rate + 0.1 * np.tile([-3, -1, 1, 3], 8) + np.repeat([0, 0.01], 16)
    y = rate + 0.1 * np.tile([1, -3, 3, -1], 8) + np.repeat([0, 0.01], 16)
    lr = np.array(RATES)[rate.astype(int)]
    return runs("full", x[:16], y[:16], lr[:16]) + runs("lora", x[16:], y[16:], lr[16:])


def test_a_relation_is_told_with_its_size(ask):
    rng = np.random.default_rng(0)
    x = rng.normal(size=20)
    y = x + 0.5 * rng.normal(size=20)
    found = ask(runs("a", x, y, [1e-3] * 20))
    assert found.effect is not None
    assert found.effect.name == "Spearman's rho"
    assert found.effect.value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-8)
    assert found.verdict == "yes"
    assert found.sentence.startswith("mean m.y rises with mean m.x (Spearman's rho 0.")
    assert found.sentence.endswith("20 runs).")
    assert (found.n, found.warnings, found.groups[0].by) == (20, (), tuple(x))
    assert Answer.from_json(found.to_json()) == found


def test_what_the_learning_rate_drives_is_gone_once_it_is_held_fixed(ask, simpson):
    plain = ask(simpson)
    assert plain.verdict == "yes"
    assert plain.effect is not None
    assert plain.effect.value > 0.8
    assert any("'given: [lr]' holds it fixed" in note for note in plain.warnings)
    found = ask(simpson, given=["lr"])
    assert found.effect is not None
    assert found.effect.name == "Spearman's partial rho given lr"
    assert abs(found.effect.value) < 0.05
    assert found.verdict == "unclear"
    assert found.detectable is not None
    assert found.detectable.value == pytest.approx(np.tanh(2.8016 / np.sqrt(29 - 3)), abs=1e-4)
    assert found.sentence.startswith(
        "no evidence at this n that mean m.x predicts mean m.y given lr: a rho of 0.5 would have been found "
        "four times in five (Spearman's partial rho"
    )
    assert "lr held fixed by comparing runs of the same value" in found.why
    assert any(f"nothing held fixed: {plain.effect.value:.3g}" in note for note in found.beside)
    assert any(note.startswith("partial rho given the ranks of lr: ") for note in found.beside)
    assert any(note.startswith("within groups: rho ") for note in found.beside)
    assert not any("may drive both" in note for note in found.warnings)


def test_a_factor_without_repeats_is_held_by_its_ranks(ask):
    rng = np.random.default_rng(1)
    lr = np.logspace(-5, -2, 14)
    x, y = np.log10(lr) + 0.3 * rng.normal(size=(2, 14))
    found = ask(runs("a", x, y, lr), given=["lr"])
    xy, xz, yz = (stats.spearmanr(a, b).statistic for a, b in ((x, y), (x, lr), (y, lr)))
    assert found.effect is not None
    assert found.effect.value == pytest.approx((xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2)), abs=1e-8)
    assert "lr held fixed by ranks" in found.why
    assert "BCa" in found.why


def test_groups_that_differ_in_more_are_read_within(ask):
    rng = np.random.default_rng(2)
    x = rng.normal(size=24)
    y = x + 0.4 * rng.normal(size=24)
    studied = [*runs("full", x[:12], y[:12], [1e-4] * 12), *runs("lora", x[12:] + 3, y[12:] - 6, [1e-4] * 12)]
    studied += runs("probe", [9.0], [9.0], [1e-4])
    pooled, within = ask(studied), ask(studied, within="group")
    assert pooled.effect is not None
    assert within.effect is not None
    assert pooled.effect.value < 0 < 0.8 < within.effect.value
    assert within.effect.name == "Spearman's rho within groups"
    for found in (pooled, within):
        assert any("over all groups at once and" in note for note in found.warnings)
        assert any(note.startswith("Spearman's rho of each group: full 0.") for note in found.beside)
    assert "in full and lora the relation runs the other way" in pooled.warnings
    assert [group.name for group in within.groups] == ["full", "lora"]
    assert within.n == 24
    # ranks of each group over their number and one, as a trend within groups is read
    u, v = (
        np.concatenate([stats.rankdata(part) - 6.5 for part in np.split(values, 2)])
        for values in (np.concatenate([x[:12], x[12:]]), y)
    )
    assert within.effect.value == pytest.approx(u @ v / np.sqrt(u @ u * (v @ v)), abs=1e-8)


def test_texts_are_held_by_value_and_numbers_beside_them_by_rank():
    rng = np.random.default_rng(3)
    x, y, z = rng.normal(size=(3, 8))
    made = [Run("a", a, b, (c, "pq"[i % 2]), None) for i, (a, b, c) in enumerate(zip(x, y, z, strict=True))]
    held = hold(made, within=False)
    assert held.cells.tolist() == [0, 1] * 4
    assert np.array_equal(held.others, [z])
    design = np.column_stack([held.cells == 0, held.cells == 1, stats.rankdata(z)]).astype(float)
    u, v = (
        stats.rankdata(w) - design @ np.linalg.lstsq(design, stats.rankdata(w), rcond=None)[0] for w in (x, y)
    )
    assert rho(held) == pytest.approx(u @ v / np.sqrt(u @ u * (v @ v)), abs=1e-8)


def test_nothing_predicted_is_claimed_only_within_a_margin(ask):
    rng = np.random.default_rng(6)
    x, noise = rng.normal(size=(2, 300))
    none = {"claim": "none", "margin": 0.3}
    unrelated = ask(runs("a", x, noise, [1e-3] * 300), **none)
    assert unrelated.verdict == "yes"
    assert unrelated.claim == "m.x does not predict m.y: |rho| is below 0.3"
    assert unrelated.sentence.startswith("mean m.x does not predict mean m.y, to within ±0.3 (Spearman's rho")
    assert unrelated.effect is not None
    assert unrelated.effect.low is not None
    assert unrelated.effect.high is not None
    assert -0.3 < unrelated.effect.low < unrelated.effect.high < 0.3
    few = ask(runs("a", x[:20], noise[:20], [1e-3] * 20), **none)
    assert few.verdict == "unclear"
    assert "beyond ±0.3 or stays within that is not shown" in few.sentence
    related = ask(runs("a", x[:40], x[:40] + 0.3 * noise[:40], [1e-3] * 40), **none)
    assert related.verdict == "no"
    assert related.sentence.startswith("mean m.x predicts mean m.y, beyond ±0.3 (")
    perfect = ask(runs("a", x[:9], x[:9], [1e-3] * 9), **none)
    assert (perfect.p, perfect.verdict) == (None, "unclear")
    assert "leave no error" in perfect.warnings[0]


def test_what_cannot_be_asked_is_said(ask):
    flat = ask(runs("a", [1.0] * 6, range(6), [1e-3] * 6))
    assert (flat.p, flat.verdict) == (None, "unclear")
    assert flat.sentence == (
        "no relation of mean m.y with mean m.x is shown (m.x has the same value in every run: there is no "
        "relation to look for; 6 runs)."
    )
    rounding = ask(runs("a", [0.1 + 0.2, 0.3, 0.3, 0.3], range(4), [1e-3] * 4))
    assert rounding.p is None
    apart = ask(runs("a", range(6), range(6), [1e-3] * 6, data="d"), given=["lr", "data"])
    assert apart.p is not None
    alone = ask([run for i in range(4) for run in runs("a", [i], [i], [1e-3], data=f"d{i}")], given=["data"])
    assert (alone.p, alone.warnings[-1]) == (None, "too few runs are left to compare given data")
    two = ask(runs("a", [1, 2], [1, 2], [1e-3] * 2))
    assert two.verdict == "not enough runs"
    assert two.sentence == "not enough runs: 2 runs with both m.y and m.x; a relation needs 3."
    assert two.effect is None
    four = ask(runs("a", [1, 2, 3, 4], [1, 2, 3, 4], [1e-3] * 4))
    assert any("no order gives p below 0.0833" in note for note in four.warnings)


def test_a_run_of_two_groups_counts_once(make_table):
    table = make_table(runs("a", [1, 2, 3, 5, 4], [1, 3, 2, 4, 5], [1e-3] * 5))
    twice = type(table)(table.rows, table.runs)
    again = table.runs.set_column(
        table.runs.column_names.index("group"), "group", [["b"] * table.runs.num_rows]
    )
    both = type(table)(twice.rows, type(again).from_batches([*table.runs.to_batches(), *again.to_batches()]))
    one, two = (answer(each, [question()])[0] for each in (table, both))
    assert (two.effect, two.p, two.n) == (one.effect, one.p, 5)
    assert two.sentence == one.sentence


def test_one_metric_at_two_places_is_told_apart(ask):
    rng = np.random.default_rng(8)
    studied = [
        {
            "group": "a",
            "factors": {"lr": 1e-3, "seed": i},
            "rows": [
                {"metric": "m.x", "split": split, "value": rng.normal() + 9 * i} for split in ("val", "test")
            ],
        }
        for i in range(8)
    ]
    by = {"metric": "m.x", "where": {"split": "val"}}
    found = ask(studied, metric="m.x", where={"split": "test"}, by=by)
    assert found.sentence.startswith("mean m.x (split=test) rises with mean m.x (split=val) (")
    assert found.warnings == ()


def test_pearson_holds_levels_and_straight_lines_fixed(ask, simpson):
    x, y = (np.array([run["rows"][i]["value"] for run in simpson]) for i in (0, 1))
    lr = np.array([run["factors"]["lr"] for run in simpson])
    plain, held = ask(simpson, test="pearson"), ask(simpson, test="pearson", given=["lr"])
    assert plain.effect is not None
    assert held.effect is not None
    assert plain.effect.name == "Pearson's r"
    assert (plain.effect.value, plain.p) == pytest.approx(tuple(stats.pearsonr(x, y)), abs=1e-8)
    rest = [v - np.array([v[lr == rate].mean() for rate in lr]) for v in (x, y)]
    r = float(stats.pearsonr(*rest).statistic)
    assert held.effect.value == pytest.approx(r, abs=1e-8)
    assert held.p == pytest.approx(2 * stats.t.sf(abs(r) * np.sqrt(27 / (1 - r**2)), 27), abs=1e-8)
    ends = np.tanh(np.arctanh(r) + np.array([-1, 1]) * stats.norm.isf(0.025) / np.sqrt(29 - 3))
    assert (held.effect.low, held.effect.high) == pytest.approx(tuple(ends), abs=1e-8)
    assert held.test == "Pearson's partial correlation given lr"
    assert held.sentence.startswith(
        "no evidence at this n that mean m.x predicts mean m.y given lr: an r of 0.5"
    )
    assert any(note.startswith("partial r given straight lines in lr: ") for note in held.beside)
    rng = np.random.default_rng(9)
    rates = np.logspace(-5, -2, 14)
    a, b = np.log10(rates) + 0.3 * rng.normal(size=(2, 14))
    apart = ask(runs("a", a, b, rates), test="pearson", given=["lr"])
    line = np.column_stack([np.ones(14), np.log10(rates)])
    rest = [v - line @ np.linalg.lstsq(line, v, rcond=None)[0] for v in (a, b)]
    assert apart.effect is not None
    assert apart.effect.value == pytest.approx(stats.pearsonr(*rest).statistic, abs=1e-8)
    assert "lr held fixed by straight lines" in apart.why


def test_kendall_within_groups(ask):
    rng = np.random.default_rng(10)
    x = rng.normal(size=24)
    y = x + 0.7 * rng.normal(size=24)
    studied = runs("full", x[:12], y[:12], [1e-4] * 12) + runs("lora", x[12:] + 3, y[12:] - 6, [1e-4] * 12)
    within, pooled = ask(studied, test="kendall", within="group"), ask(studied, test="kendall")
    assert within.effect is not None
    assert pooled.effect is not None
    assert within.effect.name == "Kendall's tau-b within groups"
    each = [stats.kendalltau(x[part], y[part]).statistic for part in (slice(12), slice(12, 24))]
    assert within.effect.value == pytest.approx(np.mean(each), abs=1e-8)
    wanted = stats.kendalltau(np.r_[x[:12], x[12:] + 3], np.r_[y[:12], y[12:] - 6], method="exact")
    assert (pooled.effect.value, pooled.p) == pytest.approx(tuple(wanted), abs=1e-8)
    assert within.verdict == "yes"
    assert any("tau-b is" in note and "within them" in note for note in pooled.warnings)
    asked = ask(studied, test="spearman")
    assert asked.why.startswith("the question asks for it; the relation need not be straight")
    assert (asked.p, asked.effect) == (ask(studied).p, ask(studied).effect)
