import math
import re
from fnmatch import fnmatchcase

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunescope.errors import TableError
from tunescope.results.row import ROWS, Row, rows_table
from tunescope.results.runs import runs_table
from tunescope.results.table import FILTERS, RunValue, Table


def table_of(rows: dict[str, list[Row]], runs: list[tuple], factors: list[dict] | None = None) -> Table:
    """Rows by run, and runs as (run, group, status)."""
    records = [
        {"run": run, "study": "s", "group": group, "name": f"{group} {run}", "status": status, "cause": None}
        for run, group, status in runs
    ]
    parts = [rows_table(run, own) for run, own in rows.items()]
    return Table(
        pa.concat_tables([ROWS.empty_table(), *parts]), runs_table(records, factors or [{}] * len(runs))
    )


@pytest.fixture
def table():
    rows = {
        "a": [
            Row("transfer.acc1", 0.5, split="shift:emoji/noto", component="trained"),
            Row("transfer.acc1", 0.7, split="shift:emoji/twemoji", component="trained"),
            Row("transfer.acc1", 0.9, split="test", component="trained"),
            Row("attention.entropy.change", -0.5, tower="vision", layer=0, head=0),
            Row("attention.entropy.change", 0.25, tower="vision", layer=0, head=1),
            Row("attention.entropy.change", 1.0, tower="vision", layer=10, head=0),
            Row("training.loss", 2.0, step=2),
            Row("training.loss", 3.0, step=1),
        ],
        "b": [
            Row("transfer.acc1", 0.1, split="shift:emoji/noto", component="text"),
            Row("training.loss", 8.0, step=1),
        ],
        "c": [Row("transfer.acc1", 0.2, split="test"), Row("training.loss", 9.0, step=1)],
    }
    runs = [("c", "lora", "failed"), ("b", "lora", "done"), ("a", "full", "done"), ("d", "full", "missing")]
    factors = [{"lr": 1e-3, "rank": 8}, {"lr": 1e-4, "rank": 8}, {"lr": 1e-4}, {"lr": 1e-3}]
    return table_of(rows, runs, factors)


def by_run(values: list[RunValue]) -> dict[str, float]:
    return {value.run: value.value for value in values}


def test_one_number_for_each_run_that_is_done(table):
    found = table.per_run("transfer.acc1", {"split": "shift:*"})
    assert found == [
        RunValue("b", "lora", "lora b", {"lr": 1e-4, "rank": 8}, 0.1),
        RunValue("a", "full", "full a", {"lr": 1e-4}, 0.6),
    ]


@pytest.mark.parametrize(
    ("reduce", "expected"), [("mean", 0.25), ("mean_abs", 1.75 / 3), ("max", 1.0), ("min", -0.5)]
)
def test_reductions(table, reduce, expected):
    assert by_run(table.per_run("attention.entropy.change", reduce=reduce)) == {"a": pytest.approx(expected)}


def test_only_the_groups_that_are_asked_for(table):
    assert by_run(table.per_run("transfer.acc1", {"split": "shift:*"}, groups=["lora"])) == {"b": 0.1}
    assert table.per_run("transfer.acc1", groups=[]) == []


def test_integer_columns_are_chosen_by_their_digits(table):
    assert by_run(table.per_run("attention.entropy.change", {"layer": "1?"})) == {"a": 1.0}
    assert by_run(table.per_run("attention.entropy.change", {"layer": 0, "head": 1})) == {"a": 0.25}


def test_steps_stay_out_unless_they_are_asked_for(table):
    assert table.per_run("training.loss") == []
    assert by_run(table.per_run("training.loss", {"step": "*"})) == {"b": 8.0, "a": 2.5}
    assert by_run(table.per_run("training.loss", {"step": 2})) == {"a": 2.0}
    assert by_run(table.per_run("training.loss", {"step": "first"})) == {"b": 8.0, "a": 3.0}
    assert by_run(table.per_run("training.loss", {"step": "last"})) == {"b": 8.0, "a": 2.0}


def test_points_of_a_curve_stay_out_unless_they_are_asked_for():
    path = [Row("landscape.path_loss", 2.0 - alpha, point=alpha) for alpha in (0.0, 0.5, 1.0)]
    table = table_of({"a": [*path, Row("landscape.path_loss", 9.0)]}, [("a", "full", "done")])
    assert by_run(table.per_run("landscape.path_loss")) == {"a": 9.0}
    assert by_run(table.per_run("landscape.path_loss", {"point": "1"})) == {"a": 1.0}
    assert by_run(table.per_run("landscape.path_loss", {"point": "5e-1"})) == {"a": 1.5}
    assert by_run(table.per_run("landscape.path_loss", {"point": "?*"})) == {"a": 1.5}


def test_rows_from_before_there_were_points_are_read(table):
    old = Table(table.rows.drop_columns(["point"]), table.runs)
    assert old.rows == table.rows


def test_what_is_empty_is_the_empty_text(table):
    assert by_run(table.per_run("transfer.acc1", {"tower": ""}, "max")) == {"b": 0.1, "a": 0.9}
    assert table.per_run("transfer.acc1", {"tower": "?*"}) == []


def test_names_with_brackets_are_found_as_they_are():
    rows = [Row("transfer.acc1", 1.0, split="shift:[a]"), Row("transfer.acc1", 3.0, split="shift:a")]
    table = table_of({"a": rows}, [("a", "full", "done")])
    assert by_run(table.per_run("transfer.acc1", {"split": "shift:[a]"})) == {"a": 2.0}


def test_one_number_for_each_layer(table):
    found = table.per_layer("attention.entropy.change", reduce="mean_abs")
    assert [(value.run, value.layer, value.value) for value in found] == [("a", 0, 0.375), ("a", 10, 1.0)]
    assert [value.layer for value in table.per_layer("attention.entropy.change", {"layer": "1*"})] == [10]
    assert table.per_layer("transfer.acc1") == []


def test_one_number_for_each_head_of_each_layer():
    rows = [
        Row("heads.gini", 0.1 * (layer + 3 * head), layer=layer, head=head)
        for layer in (1, 0)
        for head in (1, 0)
    ]
    table = table_of({"a": [*rows, Row("heads.gini", 9.0, layer=2)]}, [("a", "lora", "done")])
    found = [(value.layer, value.head, round(value.value, 9)) for value in table.per_head("heads.gini")]
    assert found == [(0, 0, 0.0), (0, 1, 0.3), (1, 0, 0.1), (1, 1, 0.4)]
    assert [value.head for value in table.per_layer("heads.gini")] == [None] * 3


def test_a_curve_is_the_rows_with_a_step_in_order_failed_runs_too(table):
    found = table.curve("training.loss")
    assert found.column_names == ["run", "group", "name", "status", *FILTERS, "value"]
    rows = [(row["run"], row["status"], row["step"], row["value"]) for row in found.to_pylist()]
    assert rows == [
        ("c", "failed", 1, 9.0),
        ("b", "done", 1, 8.0),
        ("a", "done", 1, 3.0),
        ("a", "done", 2, 2.0),
    ]
    assert table.curve("training.loss", {"step": "2"}).num_rows == 1
    assert table.curve("transfer.acc1").num_rows == 0


def test_what_is_not_finite_shows(table):
    rows = {
        "a": [Row("transfer.loss", 1.0), Row("transfer.loss", math.nan)],
        "b": [Row("transfer.loss", 1.0), Row("transfer.loss", math.inf)],
    }
    table = table_of(rows, [("a", "full", "done"), ("b", "full", "done")])
    for reduce in ("mean", "mean_abs", "max", "min"):
        found = by_run(table.per_run("transfer.loss", reduce=reduce))
        assert math.isnan(found["a"])
        assert found["b"] == (1.0 if reduce == "min" else math.inf)


def test_members_that_share_a_run_share_its_numbers():
    table = table_of({"a": [Row("transfer.acc1", 0.5)]}, [("a", "full", "done"), ("a", "floor", "done")])
    assert [(value.group, value.value) for value in table.per_run("transfer.acc1")] == [
        ("full", 0.5),
        ("floor", 0.5),
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.per_run("transfer.acc"), r"no metric 'transfer\.acc'; did you mean 'transfer\.acc1'\?"),
        (lambda t: t.per_run("transfer.acc1", {"spilt": "x"}), "by 'spilt'; did you mean 'split'"),
        (
            lambda t: t.per_run("transfer.acc1", {"1=1 OR split": "x"}),
            "rows cannot be chosen by '1=1 OR split'",
        ),
        (
            lambda t: t.per_run("transfer.acc1", reduce="avg); --"),
            r"unknown reduction 'avg\); --'; known: max",
        ),
        (lambda t: t.per_run("transfer.acc1", groups=["lara"]), "group 'lara'; did you mean 'lora'"),
        (lambda t: t.per_layer("attention.entropy.chang"), "did you mean 'attention.entropy.change'"),
        (lambda t: t.curve("training.los"), "did you mean 'training.loss'"),
        (lambda t: t.curve("training.loss", {"run": "a"}), "rows cannot be chosen by 'run'"),
    ],
)
def test_unknown_names_are_errors_with_the_nearest_known_one(table, call, message):
    with pytest.raises(TableError, match=message):
        call(table)


def test_a_table_without_rows_says_so():
    table = table_of({}, [("a", "full", "missing")])
    assert table.metrics() == []
    with pytest.raises(TableError, match=r"no metric 'transfer\.acc1'; known: none"):
        table.per_run("transfer.acc1")


@pytest.mark.parametrize(
    "text",
    ["' OR '1'='1", "x'); DROP VIEW rows; --", '" OR ""="', "$1", "?", "%", "\\", "\x00", "[", "[]", "'"],
)
def test_sql_in_a_value_is_a_value(table, text):
    before = table.per_run("transfer.acc1")
    for column in FILTERS:
        assert table.per_run("transfer.acc1", {column: text}) == []
    assert table.per_run("transfer.acc1") == before
    rows = [Row(text, 2.0, split=text), Row("m", 1.0)]
    own = table_of({text: rows}, [(text, text, "done")])
    assert by_run(own.per_run(text, {"split": text}, groups=[text])) == {text: 2.0}


def test_columns_that_are_missing_or_of_another_kind_are_named(table):
    with pytest.raises(TableError, match="rows: column 'split' is missing"):
        Table(table.rows.drop_columns(["split"]), table.runs)
    with pytest.raises(TableError, match="runs: column 'status' is missing"):
        Table(table.rows, table.runs.drop_columns(["status"]))
    words = table.rows.set_column(ROWS.names.index("value"), "value", pa.array(["x"] * table.rows.num_rows))
    with pytest.raises(TableError, match="rows: a column holds something else"):
        Table(words, table.runs)


def test_columns_may_come_in_any_order_and_of_a_wider_kind(table):
    shuffled = table.rows.select(ROWS.names[::-1])
    wide = shuffled.set_column(
        shuffled.column_names.index("layer"), "layer", shuffled.column("layer").cast(pa.int64())
    )
    assert Table(wide, table.runs).rows == table.rows


def test_texts_may_come_as_numbers_of_a_dictionary(table):
    names = [name for name in ROWS.names if ROWS.field(name).type == pa.string()]
    coded = [
        table.rows[name].dictionary_encode() if name in names else table.rows[name] for name in ROWS.names
    ]
    found = Table(pa.table(coded, names=ROWS.names), table.runs)
    assert found.rows == table.rows
    assert found.rows.schema == ROWS
    assert found.per_run("transfer.acc1") == table.per_run("transfer.acc1")
    assert found.sql("select run, split from rows").equals(table.sql("select run, split from rows"))
    assert found.sql("select split from rows").schema.field("split").type == pa.string()


texts = st.none() | st.sampled_from(["a", "b", "ab", "shift:x", "shift:y", "é*", "A"])
small = st.none() | st.integers(0, 12)
random_row = st.builds(
    Row,
    metric=st.sampled_from(["m.one", "m.two"]),
    value=st.floats(-1e6, 1e6),
    tower=texts,
    layer=small,
    head=small,
    component=texts,
    split=texts,
    step=small,
    point=st.none() | st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    std=st.none(),
    n=st.none(),
)
patterns = st.text("ab*?1:shiftxy", max_size=4) | st.sampled_from(
    ["*", "?*", "", "[ab]", "shift:[xz]", "é*", "10"]
)
wheres = st.dictionaries(st.sampled_from(FILTERS), patterns, max_size=3)


def asked(where: dict[str, str]) -> dict[str, str]:
    """A number for `point` may be written in any way."""
    if re.fullmatch(r"[0-9]+", where.get("point", "")):
        return where | {"point": f"{int(where['point'])}.0"}
    return where


def reference(rows: list[Row], metric: str, where: dict[str, str], reduce: str) -> float | None:
    numbers = []
    for row in rows:
        if row.metric != metric or any(
            name not in where and getattr(row, name) is not None for name in ("step", "point")
        ):
            continue
        said = {name: "" if getattr(row, name) is None else str(getattr(row, name)) for name in where}
        if all(said[name] == glob or fnmatchcase(said[name], glob) for name, glob in asked(where).items()):
            numbers.append(row.value)
    if not numbers:
        return None
    if reduce == "mean":
        return math.fsum(numbers) / len(numbers)
    if reduce == "mean_abs":
        return math.fsum(map(abs, numbers)) / len(numbers)
    return max(numbers) if reduce == "max" else min(numbers)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(random_row, max_size=12), min_size=1, max_size=4),
    statuses=st.lists(st.sampled_from(["done", "done", "failed"]), min_size=4, max_size=4),
    where=wheres,
    reduce=st.sampled_from(["mean", "mean_abs", "max", "min"]),
)
def test_per_run_and_per_layer_are_what_plain_python_finds(rows, statuses, where, reduce):
    runs = {str(number): own for number, own in enumerate(rows)}
    runs["0"] = [*runs["0"], Row("m.one", 1.0)]
    table = table_of(runs, [(run, f"g{run}", statuses[int(run)]) for run in runs])
    done = {run: own for run, own in runs.items() if statuses[int(run)] == "done"}

    expected = {run: reference(own, "m.one", where, reduce) for run, own in done.items()}
    found = by_run(table.per_run("m.one", where, reduce))
    assert found == {
        run: pytest.approx(value, rel=1e-9, abs=1e-6) for run, value in expected.items() if value is not None
    }

    layered = {}
    for run, own in done.items():
        for layer in {row.layer for row in own} - {None}:
            value = reference([row for row in own if row.layer == layer], "m.one", where, reduce)
            if value is not None:
                layered[run, layer] = pytest.approx(value, rel=1e-9, abs=1e-6)
    by_layer = {(value.run, value.layer): value.value for value in table.per_layer("m.one", where, reduce)}
    assert by_layer == layered
