import csv
import os

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunescope.errors import TableError
from tunescope.results.row import ROWS, Row, rows_table
from tunescope.results.runs import runs_table
from tunescope.results.table import Table
from tunescope.results.tablefile import inert


def table_of(value=0.5, group="full", cause=None, split="test", **factors):
    record = {"run": "ab", "study": "s", "group": group, "name": "n", "status": "done", "cause": cause}
    return Table(
        rows_table("ab", [Row("transfer.acc1", value, split=split)]), runs_table([record], [factors])
    )


def test_a_table_is_read_back(tmp_path):
    table = table_of(lr=1e-3, seed=0, kind="lora")
    table.write(tmp_path / "new" / "folder")
    found = Table.read(tmp_path / "new" / "folder")
    assert found.rows == table.rows
    assert found.runs == table.runs
    assert sorted(os.listdir(tmp_path / "new" / "folder")) == ["rows.parquet", "runs.parquet", "table.csv"]


def test_the_same_table_is_written_to_the_same_bytes(tmp_path):
    for folder in ("one", "two"):
        table_of(lr=1e-3).write(tmp_path / folder)
    for name in ("rows.parquet", "runs.parquet", "table.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_files_of_two_writings_are_refused(tmp_path):
    table_of(0.5).write(tmp_path / "one")
    table_of(0.6).write(tmp_path / "two")
    os.replace(tmp_path / "two" / "rows.parquet", tmp_path / "one" / "rows.parquet")
    with pytest.raises(TableError, match="not of one writing"):
        Table.read(tmp_path / "one")


def test_a_table_that_somebody_else_wrote_is_read(tmp_path):
    table = table_of(0.5)
    pq.write_table(table.rows, tmp_path / "rows.parquet")
    pq.write_table(table.runs, tmp_path / "runs.parquet")
    assert Table.read(tmp_path).rows == table.rows


def test_what_is_no_table_is_an_error(tmp_path):
    with pytest.raises(TableError, match=r"no table that can be read .* expected rows\.parquet"):
        Table.read(tmp_path)
    table_of().write(tmp_path)
    (tmp_path / "runs.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(TableError, match="no table that can be read"):
        Table.read(tmp_path)


def test_where_it_cannot_be_written_is_said_and_the_old_one_stays(tmp_path):
    table_of(0.5).write(tmp_path)
    (tmp_path / "table.csv").unlink()
    (tmp_path / "table.csv").mkdir()
    with pytest.raises(TableError, match="cannot be written: Is a directory"):
        table_of(0.5).write(tmp_path)
    assert Table.read(tmp_path).rows == table_of(0.5).rows
    assert sorted(os.listdir(tmp_path)) == ["rows.parquet", "runs.parquet", "table.csv"]


def cells(folder):
    with open(folder / "table.csv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_csv_holds_every_row_beside_its_run(tmp_path):
    table_of(0.5, lr=1e-3, layer=7).write(tmp_path)
    (row,) = cells(tmp_path)
    assert row == {
        "run": "ab", "study": "s", "group": "full", "name": "n", "status": "done", "cause": "",
        "lr": "0.001", "run_layer": "7",
        "probe": "transfer", "metric": "transfer.acc1", "tower": "", "layer": "", "head": "",
        "component": "", "split": "test", "step": "", "point": "", "value": "0.5", "std": "", "n": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", '=HYPERLINK("x")'],
)
def test_no_cell_of_the_csv_is_a_formula(tmp_path, text):
    table_of(group=text, cause=text, split=text, kind=text).write(tmp_path)
    (row,) = cells(tmp_path)
    for column in ("group", "cause", "split", "kind"):
        assert row[column] == "'" + text
    assert Table.read(tmp_path).runs.column("group").to_pylist() == [text]


@pytest.mark.parametrize("number", ["-1", "+0.5", "-1e-05", "-.5", "-3."])
def test_texts_that_are_numbers_stay_numbers(number):
    assert inert(number) == number


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text(max_size=6), min_size=1, max_size=5))
def test_any_text_comes_through_the_csv(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("csv")
    rows = [Row("transfer.acc1", 1.0, split="x" + text) for text in texts]
    record = {"run": "ab", "study": "s", "group": "g", "name": "n", "status": "done", "cause": None}
    Table(rows_table("ab", rows), runs_table([record], [{}])).write(folder)
    assert [row["split"] for row in cells(folder)] == ["x" + text for text in texts]


def test_an_empty_table_is_written_and_read(tmp_path):
    table = Table(ROWS.empty_table(), runs_table([], []))
    table.write(tmp_path)
    assert Table.read(tmp_path).runs == table.runs
    assert cells(tmp_path) == []
