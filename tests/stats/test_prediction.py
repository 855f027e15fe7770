# pyright: reportAttributeAccessIssue=false
# SciPy ships no types: its named results are taken for plain tuples
import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tunescope.errors import TableError
from tunescope.stats import max_test
from tunescope.stats.answer import Answer, answer
from tunescope.stats.relation import Run, hold
from tunescope.study.question import Question

RATES = (1e-5, 1e-4, 1e-3, 1e-2)
Y, TRUE, RATE, NOISE = "transfer.acc1.retention", "m.true", "m.rate", "m.noise"
PREDICTORS = ({"metric": RATE}, {"metric": NOISE, "name": "noise of heads"}, {"metric": TRUE})


def question(**more: Any) -> Question:
    settings: dict[str, Any] = {"ask": "Which predicts best?", "metric": Y, "predictors": PREDICTORS}
    return Question(**settings | more)


def planted(
    per: int = 16, groups: tuple[str, ...] = ("full", "lora", "wise"), size: float = 1.0
) -> list[dict[str, Any]]:
    """A hidden number and the learning rate make y; one number sees the hidden one, one follows the rate."""
    rng = np.random.default_rng(0)
    studied = []
    for group in groups:
        for i in range(per):
            rate = i % 4
            hidden, noise, other, own = rng.normal(size=4)
            y = 0.9 - 0.06 * rate - size * 0.05 * hidden + 0.01 * own
            values = {TRUE: hidden + 0.3 * other, RATE: rate + 0.05 * other, NOISE: noise, Y: y}
            rows = [{"metric": name, "value": float(value)} for name, value in values.items()]
            rows += [{"metric": TRUE, "value": float(hidden + noise), "step": step} for step in (10, 20)]
            studied.append({"group": group, "factors": {"lr": RATES[rate], "seed": i // 4}, "rows": rows})
    return studied


@pytest.fixture(scope="module")
def found(make_table_once) -> Answer:
    return answer(make_table_once(planted()), [question()])[0]


def columns(studied: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    names = (Y, TRUE, RATE, NOISE)
    rows = [{row["metric"]: row["value"] for row in run["rows"] if "step" not in row} for run in studied]
    made = {name: np.array([row[name] for row in rows]) for name in names}
    return made | {
        "lr": np.array([run["factors"]["lr"] for run in studied]),
        "group": np.array([run["group"] for run in studied]),
    }


def test_the_true_one_the_confounded_one_and_noise_read_as_they_are(found):
    by_name = {each.name: each for each in found.predictions}
    true, rate, noise = (by_name[name] for name in (TRUE, RATE, "noise of heads"))
    assert found.ranking == tuple(each.name for each in found.predictions)
    # overall, the one that follows the learning rate goes with y as it should not be believed
    assert found.ranking[0] == RATE
    assert rate.rho.value < -0.7
    assert abs(rate.given) < 0.35
    assert rate.p > 0.05
    assert true.given < -0.8
    assert (found.p, true.p, found.verdict, found.held) == (1e-4, 1e-4, "yes", ("lr",))
    assert abs(noise.rho.value) < 0.35
    assert noise.p > 0.05
    assert noise.skill < 0 < 0.1 < true.skill < rate.skill
    assert found.claim == f"at least one of 3 numbers predicts {Y} given lr"
    assert found.n == 48
    assert found.groups[0].by == ()
    assert [len(values) for values in found.groups[0].predictors] == [16, 16, 16]


def test_every_reading_is_that_of_a_slow_reference(found):
    data = columns(planted())
    ranked = {name: stats.rankdata(values) for name, values in data.items() if name != "group"}

    def within_cells(values):
        return values - np.array([values[data["lr"] == rate].mean() for rate in data["lr"]])

    for each in found.predictions:
        name = NOISE if each.name == "noise of heads" else each.name
        assert each.rho.value == pytest.approx(stats.spearmanr(data[name], data[Y]).statistic, abs=1e-8)
        own = {
            group: stats.spearmanr(
                data[name][data["group"] == group], data[Y][data["group"] == group]
            ).statistic
            for group in ("full", "lora", "wise")
        }
        assert dict(each.groups) == pytest.approx(own, abs=1e-8)
        assert each.within == pytest.approx(np.mean(np.abs(list(own.values()))), abs=1e-8)
        u, v = (within_cells(ranked[column]) for column in (name, Y))
        assert each.given == pytest.approx(u @ v / np.sqrt(u @ u * (v @ v)), abs=1e-8)
        assert each.rho.low < each.rho.value < each.rho.high
    sizes = [abs(each.rho.value) for each in found.predictions]
    assert found.lead.value == pytest.approx(sizes[0] - sizes[1])
    assert found.lead.low < found.lead.value < found.lead.high


def test_the_sentence_says_who_comes_first_and_that_they_disagree(found, make_table):
    assert found.sentence == (
        f"m.rate goes with {Y} most of 3 numbers (Spearman's rho −0.74, 95 % interval −0.836 to −0.593), "
        "ahead of m.true (|rho| 0.483; difference 0.257, 95 % interval 0.00475 to 0.547); given lr, m.true "
        "is shown to predict it and m.rate is not; m.rate also comes first within groups and in groups left "
        "out, m.true given lr (Holm-corrected p = 0.0001 that any predicts it given lr; 48 runs)."
    )
    lines = found.lines()
    assert [line.split(":")[0].strip() for line in lines[4:7]] == list(found.ranking)
    assert lines[5].startswith(
        "  m.true: rho −0.483 (95 % interval −0.671 to −0.236); given lr −0.861; adjusted"
    )
    assert "; mean |rho| within groups 0.448 (full −0.332, lora −0.362, wise −0.65); in groups" in lines[5]
    assert lines[5].endswith("left out skill 0.136, rho 0.392, off by 0.0625")
    strong = answer(make_table(planted(size=4.0)), [question()])[0]
    assert strong.sentence == (
        f"m.true predicts {Y} best of 3 numbers (Spearman's rho −0.852, 95 % interval −0.933 to −0.721), "
        "ahead of m.rate (|rho| 0.251; difference 0.601, 95 % interval 0.319 to 0.878); m.true also comes "
        "first within groups, given lr and in groups left out (Holm-corrected p = 0.0001 that any predicts "
        "it given lr; 48 runs)."
    )
    for run in (equal := planted(size=4.0)):
        true = next(row["value"] for row in run["rows"] if row["metric"] == TRUE)
        run["rows"].append({"metric": "m.equal", "value": true + 0.02 * run["factors"]["seed"]})
    (both,) = answer(make_table(equal), [question(predictors=({"metric": TRUE}, {"metric": "m.equal"}))])
    assert f" predicts {Y}, first of 2 numbers (Spearman's rho −0.8" in both.sentence
    assert ", not told apart from m." in both.sentence
    noise = answer(make_table(planted(size=0.0)), [question(predictors=PREDICTORS[1:])])[0]
    assert noise.verdict == "unclear"
    assert noise.sentence.startswith(
        f"no evidence at this n that any of 2 numbers predicts {Y} given lr: a rho of 0.443 "
    )
    assert " would have been found four times in five; " in noise.sentence
    assert noise.sentence.endswith(" that any predicts it given lr; 48 runs).")


def test_an_answer_is_read_again_as_it_was_written(found):
    assert Answer.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_early_looks_count_as_numbers_of_their_own(make_table):
    studied = planted()
    studied[0]["rows"] = [row for row in studied[0]["rows"] if "step" not in row]
    early = {"metric": TRUE, "where": {"step": "first"}}
    (got,) = answer(make_table(studied), [question(predictors=({"metric": TRUE}, early))])
    assert set(got.ranking) == {"m.true", "m.true (first look)"}
    assert got.left_out == {"no m.true (first look) measured": 1}
    assert got.n == 47


def test_a_run_of_two_groups_counts_once(make_table, found):
    import pyarrow as pa

    from tunescope.results.table import Table

    table = make_table(planted())
    again = table.runs.slice(0, 5).set_column(
        table.runs.column_names.index("group"), "group", pa.array(["again"] * 5)
    )
    (got,) = answer(Table(table.rows, pa.concat_tables([table.runs, again])), [question()])
    assert got.n == 48
    assert got.predictions == found.predictions


def test_what_does_not_vary_is_named_and_left_out(make_table):
    studied = planted()
    for run in studied:
        run["rows"].append({"metric": "m.still", "value": 1.0})
    (got,) = answer(make_table(studied), [question(predictors=({"metric": TRUE}, {"metric": "m.still"}))])
    assert got.ranking == (TRUE,)
    assert got.lead is None
    assert got.warnings[0] == "m.still: the same value in every run, which predicts nothing; left out"
    assert got.sentence.startswith(f"m.true predicts {Y} (Spearman's rho ")
    (got,) = answer(
        make_table(studied),
        [question(metric="m.still", predictors=({"metric": TRUE}, {"metric": NOISE}))],
    )
    assert (got.p, got.verdict) == (None, "unclear")
    assert got.sentence == (
        "nothing that could predict m.still is shown (m.still has the same value in every run: there is "
        "nothing to predict; 48 runs)."
    )


def test_few_runs_show_the_effect_and_test_nothing(make_table):
    four = planted(per=4, groups=("full",))
    (got,) = answer(make_table(four[:3]), [question()])
    assert (got.p, got.verdict) == (None, "unclear")
    assert got.effect is not None
    assert got.lead is not None
    assert got.lead.low is None
    assert "which is not tested (3 runs)." in got.sentence
    assert "too few runs are left to compare given lr" in got.warnings
    (got,) = answer(make_table(four[:2]), [question()])
    assert got.verdict == "not enough runs"
    assert got.sentence == f"not enough runs: 2 runs with {Y} and all 3 numbers; a prediction needs 3."
    (got,) = answer(make_table(planted(per=4, groups=("full", "lora"))), [question()])
    assert any(note.startswith("among so few runs no order gives p below 0.125") for note in got.warnings)
    assert "intervals by Bonett and Wright" in got.why


def test_without_a_learning_rate_that_varies_nothing_is_held_fixed(make_table):
    studied = planted()
    for run in studied:
        run["factors"]["lr"] = 1e-3
    (got,) = answer(make_table(studied), [question()])
    assert got.held == ()
    assert got.claim == f"at least one of 3 numbers predicts {Y}"
    assert all(each.given is None for each in got.predictions)
    studied[0]["factors"]["lr"] = None
    (got,) = answer(make_table(studied), [question()])
    assert (
        "the runs differ in lr, which some of them do not tell, so that it is not held fixed" in got.warnings
    )
    (got,) = answer(make_table(studied), [question(given=("seed",), among=("full", "lora"))])
    assert got.held == ("seed",)
    assert got.n == 32


def test_an_unknown_metric_among_them_is_named(make_table):
    with pytest.raises(TableError, match=r"no metric 'm\.tru'; did you mean 'm\.true'"):
        answer(make_table(planted()), [question(predictors=({"metric": NOISE}, {"metric": "m.tru"}))])


def test_where_nothing_predicts_one_in_twenty_says_so():
    """1,000 studies of 3 rates × 3 runs, where the rate drives y and four numbers that share their luck."""
    rng = np.random.default_rng(1)
    lr = np.repeat(RATES[:3], 3)
    given, naive = [], []
    for _ in range(1_000):
        rate = np.repeat([0.0, 2.0, 4.0], 3)
        many = rate + rng.normal(size=9) + rng.normal(size=(4, 9))
        y = rate + rng.normal(size=9)
        runs = [Run("a", b, b, (r,), r) for b, r in zip(y.tolist(), lr.tolist(), strict=True)]
        rho, by_chance, all_orders = max_test.null(many, hold(runs, within=False))
        given.append(max_test.stepped_down(np.abs(rho), by_chance, all_orders).min())
        own = [max_test.stepped_down(np.abs(rho[[i]]), by_chance[:, [i]], all_orders).min() for i in range(4)]
        naive.append(min(own))
    assert np.mean(np.array(given) < 0.05) <= 0.06
    assert np.mean(np.array(naive) < 0.05) > 0.1  # the best of four by its own p
