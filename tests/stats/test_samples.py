import math

import pytest

from tunescope.errors import TableError
from tunescope.stats.samples import samples
from tunescope.study.question import Question


def run(group: str, seed: int, value: float | None = None, lr: float = 1e-3, **more):
    rows = [] if value is None else [{"metric": "m.x", "value": value, "split": "test"}]
    return {"group": group, "factors": {"lr": lr, "seed": seed}, "rows": rows} | more


def ask(**more) -> Question:
    return Question(**{"ask": "Who?", "metric": "m.x", "compare": ("a", "b")} | more)


def test_runs_without_a_number_are_left_out_by_cause(make_table):
    found = samples(
        make_table(
            [
                run("a", 0, 1.0),
                run("a", 1, 2.0),
                run("a", 2, 9.0, status="failed", cause="diverged at step 7"),
                run("b", 0, math.nan),
                run("b", 1),
                run("b", 2, status="missing"),
                run("c", 0, status="failed", cause="not asked about"),
            ]
        ),
        ask(),
    )
    assert [(group.name, group.values, group.mean) for group in found.groups] == [
        ("a", (1.0, 2.0), 1.5),
        ("b", (), None),
    ]
    assert found.left_out == {
        "diverged at step 7": 1,
        "m.x is not a finite number": 1,
        "no m.x measured": 1,
        "not carried out": 1,
    }


def test_best_is_chosen_on_validation_under_the_trained_head(make_table):
    def scored(lr: float, seed: int, val: float, test: float, head: str = "trained"):
        return {
            "group": "a",
            "factors": {"lr": lr, "seed": seed},
            "rows": [
                {"metric": "transfer.acc1", "split": "val", "component": head, "value": val},
                {"metric": "transfer.acc1", "split": "test", "component": head, "value": test},
                {"metric": "m.x", "value": lr},
            ],
        }

    other = {"group": "b", "factors": {"lr": 0.5, "seed": 0}, "rows": [{"metric": "m.x", "value": 3.0}]}
    misleading = scored(1e-2, 0, 0.1, 0.99)
    misleading["rows"].append({"metric": "transfer.acc1", "split": "val", "component": "text", "value": 1.0})
    runs = [scored(1e-4, 0, 0.8, 0.1), scored(1e-4, 1, 0.6, 0.1), scored(1e-3, 0, 0.7, 0.9), misleading]
    found = samples(make_table([*runs, other]), ask(at="best"))
    assert found.groups[0].chosen == {"lr": 1e-4}  # a tie of means at 0.7: the smaller rate
    assert found.groups[0].values == (1e-4, 1e-4)
    assert found.groups[1].chosen == {}
    runs = [scored(lr, 0, val, 0.5, "text") for lr, val in ((1e-4, 0.2), (1e-3, 0.3))]
    assert samples(make_table([*runs, other]), ask(at="best")).groups[0].chosen == {"lr": 1e-3}


def test_where_labels_are_numbers_the_smallest_squared_error_is_best(make_table):
    def scored(lr: float, val: float):
        place = {"split": "val", "component": "trained"}
        rows = [{"metric": "transfer.squared_error", **place, "value": val}, {"metric": "m.x", "value": lr}]
        return {"group": "a", "factors": {"lr": lr, "seed": 0}, "rows": rows}

    runs = [scored(1e-4, 2.0), scored(1e-3, 0.5), scored(1e-2, float("nan")), scored(1e-1, 0.5)]
    other = {"group": "b", "factors": {"lr": 0.5, "seed": 0}, "rows": [{"metric": "m.x", "value": 3.0}]}
    assert samples(make_table([*runs, other]), ask(at="best")).groups[0].chosen == {"lr": 1e-3}


def test_left_out_counts_only_runs_at_the_chosen_rate(make_table):
    def scored(lr: float, val: float):
        return [
            {"metric": "transfer.acc1", "split": "val", "component": "trained", "value": val},
            {"metric": "m.x", "value": 1.0},
        ]

    runs = [
        run("a", 0, lr=1e-3) | {"rows": scored(1e-3, 0.9)},
        run("a", 1, lr=1e-3, status="failed", cause="diverged at step 2"),
        run("a", 0, lr=1e-4) | {"rows": scored(1e-4, 0.5)},
        run("a", 1, lr=1e-4, status="failed", cause="elsewhere"),
        run("b", 0, 1.0),
    ]
    assert samples(make_table(runs), ask(at="best")).left_out == {"diverged at step 2": 1}


def test_best_without_validation_is_an_error_that_says_what_to_do(make_table):
    table = make_table([run("a", 0, 1.0, lr=1e-3), run("a", 0, 1.0, lr=1e-4), run("b", 0, 1.0)])
    with pytest.raises(TableError, match=r"group 'a'.*split=val.*'at: all'"):
        samples(table, ask(at="best"))


def test_fixed_factors_narrow_every_group(make_table):
    runs = [run("a", 0, 1.0, lr=1e-3), run("a", 0, 2.0, lr=1e-4), run("b", 0, 3.0, lr=1e-3)]
    found = samples(make_table(runs), ask(at={"lr": 1e-3}))
    assert [group.values for group in found.groups] == [(1.0,), (3.0,)]
    assert [group.chosen for group in found.groups] == [{"lr": 1e-3}] * 2
    assert found.left_out == {}
    with pytest.raises(TableError, match=r"no factor 'rl'; known: lr, seed"):
        samples(make_table(runs), ask(at={"rl": 1e-3}))


def test_two_numbers_of_the_same_runs_stand_beside_each_other(make_table):
    def both(seed: int, x: float, y: float | None, **factors):
        rows = [{"metric": "m.y", "value": y, "split": split} for split in ("val", "test") if y is not None]
        rows += [{"metric": "m.x", "value": x}]
        return {"group": "a", "factors": {"rank": 2, "seed": seed} | factors, "rows": rows}

    runs = [both(2, 5.0, 7.0), both(1, 4.0, 9.0), both(3, math.nan, 1.0), both(4, 1.0, None)]
    runs += [both(5, 1.0, 1.0, rank=None), both(6, 1.0, 1.0) | {"status": "failed", "cause": "diverged"}]
    asked = {"compare": None, "metric": "m.y", "by": {"metric": "m.x"}, "given": ["rank"]}
    found = samples(make_table(runs), ask(**asked))
    (group,) = found.groups
    assert (group.values, group.by, group.runs) == ((9.0, 7.0), (4.0, 5.0), ("run1", "run0"))
    assert found.left_out == {
        "diverged": 1,
        "m.x is not a finite number": 1,
        "no m.y measured": 1,
        "no rank": 1,
    }
    assert found.warnings == (
        "left out, since a number of theirs is not finite: a rank=2 seed=3 (m.x nan)",
        "m.y mixes split test and val; 'where' can tell them apart",
    )
    with pytest.raises(TableError, match=r"no metric 'm.z'"):
        samples(make_table(runs), ask(**asked | {"by": {"metric": "m.z"}}))


def test_layers_become_values_with_a_warning(make_table):
    rows = [
        {"metric": "m.x", "layer": layer, "head": h, "value": layer + h} for layer in (0, 1) for h in (0, 2)
    ]
    table = make_table([run("a", 0) | {"rows": rows}, run("b", 0) | {"rows": rows[:2]}])
    found = samples(table, ask(unit="layer"))
    assert found.groups[0].values == (1.0, 2.0)
    assert [factors["layer"] for factors in found.groups[0].factors] == [0, 1]
    assert found.groups[1].values == (1.0,)
    assert "not replicates" in found.warnings[0]


def test_mixtures_are_warned_about(make_table):
    def both(seed: int, lr: float):
        rows = [{"metric": "m.x", "component": c, "value": 1.0} for c in ("text", "trained")]
        return run("a", seed, lr=lr) | {"rows": rows}

    not_asked = run("c", 0) | {"rows": [{"metric": "m.x", "component": "zero", "value": 1.0}]}
    table = make_table([both(0, 1e-3), both(0, 1e-4), run("b", 0, 1.0), not_asked])
    assert samples(table, ask()).warnings == (
        "the number mixes component text and trained; 'where' can tell them apart",
        "a mixes several learning rates; 'at: best' compares each group at its best, 'at: {lr: …}' at one",
    )
    assert len(samples(table, ask(where={"component": "text"})).warnings) == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"metric": "m.y"}, r"'Who\?'.*no metric 'm.y'; did you mean 'm.x'"),
        ({"compare": ("a", "bb")}, "no runs of group 'bb'"),
        ({"compare": None, "against": "sede"}, "no factor 'sede'; did you mean 'seed'"),
        (
            {"compare": None, "by": {"metric": "m.x", "where": {"split": "val"}}, "given": ["sede"]},
            "no factor 'sede'; did you mean 'seed'",
        ),
        ({"compare": None, "against": "kind"}, "factor 'kind' is 'cosine'.*expected numbers"),
    ],
)
def test_what_the_table_lacks_is_named(make_table, asked, message):
    table = make_table([run("a", 0, 1.0) | {"factors": {"seed": 1, "kind": "cosine"}}, run("b", 0, 1.0)])
    with pytest.raises(TableError, match=message):
        samples(table, ask(**asked))


def test_runs_without_the_factor_are_left_out(make_table):
    table = make_table([run("a", 0, 1.0) | {"factors": {"rank": 4}}, run("b", 0, 1.0)])
    found = samples(table, ask(compare=None, against="rank"))
    assert found.left_out == {"no rank": 1}
    assert [group.n for group in found.groups] == [1, 0]


def test_a_declared_metric_that_nothing_measured_is_no_error(make_table):
    table = make_table([run(g, 0, status="failed", cause="diverged at step 1") for g in "ab"])
    found = samples(table, ask(metric="transfer.acc1", at="best"))
    assert found.left_out == {"diverged at step 1": 2}


def test_heads_become_values_too(make_table):
    rows = [
        {"metric": "m.x", "layer": layer, "head": h, "value": 10.0 * layer + h}
        for layer in (0, 1)
        for h in (0, 2)
    ]
    rows.append({"metric": "m.x", "layer": 2, "value": 9.0})
    table = make_table(
        [{"group": "a", "factors": {"seed": 0}, "rows": rows}, {"group": "b", "rows": rows[-1:]}]
    )
    found = samples(table, ask(unit="head"))
    assert found.groups[0].values == (0, 10, 2, 12)
    assert found.groups[0].factors[3] == {"seed": 0, "layer": 1, "head": 2}
    assert found.left_out == {"no m.x measured of a head": 1}
    assert found.warnings[0].startswith("heads of one run are not replicates")
    assert "'test: mixed_model' knows" in found.warnings[0]
    assert samples(table, ask(unit="head", test="mixed_model")).warnings == ()
