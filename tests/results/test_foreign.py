import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tunescope.errors import TableError
from tunescope.results.columns import Columns
from tunescope.results.foreign import foreign
from tunescope.results.row import Row, rows_table
from tunescope.results.runs import runs_table
from tunescope.results.sheet import read_sheet, sheet_of
from tunescope.results.table import Table
from tunescope.study.question import Question

COMPARED = Question(ask="?", metric="x", compare=("a", "b"))


def read(frame: pd.DataFrame, *questions: Question, drop_nan: bool = False, **said: object):
    return foreign(sheet_of(frame), Columns.of(said), questions, drop_nan)


def values(table: Table, metric: str, where: dict[str, str] | None = None) -> dict[str, float]:
    return {found.name: found.value for found in table.per_run(metric, where)}


def test_runs_with_names_keep_what_is_the_same_in_all_their_rows():
    frame = pd.DataFrame(
        {
            "id": ["r1", "r1", "r2", "r2"],
            "method": ["a", "a", "b", "b"],
            "lr": [0.1, 0.1, None, None],
            "augmented": [True, True, False, False],
            "part": ["q", "k", "q", "k"],
            "error": [1, 2, 3, 4],
            "what": "x",
            "number": [1.0, 3.0, 5.0, 7.0],
        }
    )
    found = read(frame, COMPARED, run="id", group="method", component="part", long="what:number")
    assert values(found.table, "x") == {"r1": 2.0, "r2": 6.0}
    assert values(found.table, "x", {"component": "k"}) == {"r1": 3.0, "r2": 7.0}
    factors = [run.factors for run in found.table.per_run("x")]
    assert factors == [{"lr": 0.1, "augmented": 1}, {"augmented": 0}]
    assert "told apart by id; groups: a, b; metrics: x; factors: lr, augmented" in found.said
    assert found.said.endswith("not used: error")
    with pytest.raises(
        TableError, match=r"'r1' has two values of 'error': row 1 \(1\), row 2 \(2\).*out of --factors"
    ):
        read(frame, run="id", group="method", component="part", long="what:number", factors=["error"])


def test_a_question_says_which_numbers_are_factors():
    frame = pd.DataFrame(
        {"group": ["a"] * 4, "seed": [0, 0, 1, 1], "lr": [0.1, 0.2] * 2, "x": [1.0, 2, 3, 4]}
    )
    found = read(frame, Question(ask="?", metric="x", against="lr"))
    assert values(found.table, "x") == {
        f"a lr={lr} seed={s}": x
        for (s, lr), x in zip([(0, 0.1), (0, 0.2), (1, 0.1), (1, 0.2)], [1.0, 2, 3, 4], strict=True)
    }
    assert found.table.metrics() == ["x"]
    with pytest.raises(
        TableError, match="both hold 'x' of the run 'a seed=0'"
    ):  # lr is a number like any other
        read(frame, Question(ask="?", metric="x", by_depth=True))


def test_our_own_names_need_no_flags_unless_they_mean_something_else():
    frame = pd.DataFrame(
        {
            "group": list("aabb"),
            "seed": [0, 0, 0, 0],
            "layer": [0, 1, 0, 1],
            "head": ["mlp"] * 4,
            "x": [1.0, 2, 3, 4],
        }
    )
    found = read(frame, COMPARED)
    assert [(run.group, run.value, run.layer) for run in found.table.per_layer("x")] == [
        ("a", 1.0, 0),
        ("a", 2.0, 1),
        ("b", 3.0, 0),
        ("b", 4.0, 1),
    ]
    assert found.table.per_run("x")[0].factors == {"head": "mlp", "seed": 0}


def test_our_own_csv_is_a_foreign_table_too(tmp_path):
    records = [
        {
            "run": f"{group}{seed}",
            "study": "s",
            "group": group,
            "name": f"{group} {seed}",
            "status": "done",
            "cause": None,
        }
        for group in "ab"
        for seed in range(2)
    ]
    rows = [
        rows_table(
            str(record["run"]),
            [Row("x.y", i + layer / 10, layer=layer) for layer in range(3)] + [Row("x.z", i, step=5)],
        )
        for i, record in enumerate(records)
    ]
    own = Table(
        pa.concat_tables(rows),
        runs_table(records, [{"seed": int(str(r["run"])[1]), "lr": 0.1} for r in records]),
    )
    own.write(tmp_path)
    sheet = read_sheet(tmp_path / "table.csv", Columns().texts)
    found = foreign(sheet, Columns(), [Question(ask="?", metric="x.y", compare=("a", "b"))]).table
    for mine, theirs in zip(own.per_layer("x.y"), found.per_layer("x.y"), strict=True):
        assert (mine.run, mine.group, mine.layer, mine.value) == (
            theirs.run,
            theirs.group,
            theirs.layer,
            theirs.value,
        )
        assert theirs.factors["seed"] == mine.factors["seed"]
    assert found.per_run("x.z") == []  # rows at steps are asked for by them
    assert [run.value for run in found.per_run("x.z", {"step": "5"})] == [0, 1, 2, 3]


def test_parts_of_a_run_are_missing_one_by_one_and_stand_once():
    frame = pd.DataFrame({"run": ["r", "r", "s"], "x": [1.0, None, 2.0], "y": [None, 5.0, None]})
    found = read(frame)
    assert (values(found.table, "x"), values(found.table, "y")) == ({"r": 1.0, "s": 2.0}, {"r": 5.0})
    frame.loc[1, "x"] = 3.0
    with pytest.raises(TableError, match="row 1 and row 2 both hold 'x' of the run 'r'"):
        read(frame)


def test_only_numbers_that_are_asked_about_must_be_finite():
    table = pa.table({"run": ["r", "s"], "x": [1.0, np.inf], "y": [np.nan, 1.0]})
    sheet = sheet_of(table)
    for metric, row in (("x", r"row 2 \(inf\)"), ("y", r"row 1 \(nan\)")):
        asked = [Question(ask="?", metric=metric, by_depth=True)]
        with pytest.raises(TableError, match=row):
            foreign(sheet, Columns(), asked)
        assert len(foreign(sheet, Columns(), asked, drop_nan=True).table.per_run("x")) == 2


@pytest.mark.parametrize(
    ("frame", "said", "message"),
    [
        (
            {"metric": ["x"], "value": [[1.0]]},
            {"long": "metric:value"},
            "'value' holds list<.*>; expected numbers or texts",
        ),
        ({"group": [[1]], "x": [1.0]}, {}, "'group' holds list<.*>; expected numbers or texts"),
        ({"group": ["a"], "lists": [[1]]}, {}, "no column of numbers is left to ask about"),
        ({"metric": ["x", None], "value": [1.0, 2.0]}, {}, "every row needs a metric"),
        ({"run": ["a", None], "x": [1.0, 2.0]}, {}, "every row needs a run"),
        ({"layer": [0, -1], "x": [1.0, 2.0]}, {}, r"row 2 \(-1\); expected whole numbers from 0"),
        (
            {"step": [np.inf, 1e10], "x": [1.0, 2.0]},
            {},
            r"row 1 \(inf\), row 2 \(10000000000.0\); expected whole",
        ),
        ({"x": pd.to_datetime(["2024-01-01"])}, {"metric": "x"}, r"\('2024-01-01 00:00:00"),
    ],
)
def test_columns_that_hold_something_else(frame, said, message):
    with pytest.raises(TableError, match=message):
        read(pd.DataFrame(frame), **said)
