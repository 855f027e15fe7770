import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunescope.errors import TableError
from tunescope.results.sheet import read_sheet, sheet_of


@pytest.fixture
def read(tmp_path):
    def call(text: str, *texts: str):
        (tmp_path / "t.csv").write_bytes(text.encode())
        return read_sheet(tmp_path / "t.csv", texts)

    return call


def test_rows_are_named_by_the_lines_of_the_file(read):
    sheet = read('\n\nname,value\n"two\nlines",1\n\nb,2\n')
    assert sheet.table.to_pydict() == {"name": ["two\nlines", "b"], "value": [1, 2]}
    assert [sheet.place(0), sheet.place(1)] == ["line 4", "line 7"]
    assert sheet.cells("value", [0, 1], first=1) == "line 4 (1) and 1 more"


def test_cells_are_missing_numbers_or_no_numbers(read):
    table = read("a,b,c,d,e\n1,nan,NA,true,\n,-inf,x,,2024-05-01\n3,0.5,,false,2024-05-02\n").table
    assert table.column("a").to_pylist() == [1, None, 3]
    np.testing.assert_equal(table.column("b").to_numpy(), [np.nan, -np.inf, 0.5])
    assert table.column("c").to_pylist() == ["NA", "x", None]  # a group may be called NA
    assert table.column("d").to_pylist() == [True, None, False]
    assert table.column("e").to_pylist() == [None, "2024-05-01", "2024-05-02"]
    assert read("a,b\n1,NA\n2,0.5\n").table.column("b").to_pylist() == [None, 0.5]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a;b\n0,5;x\n1,5e-3;y\n", {"a": [0.5, 0.0015], "b": ["x", "y"]}),
        ("a\tb\n0,5\tx\n", {"a": [0.5], "b": ["x"]}),
        ('a,b\n"1,234",x\n', {"a": ["1,234"], "b": ["x"]}),  # thousands, or a decimal comma: nobody knows
        ("a;b\n0.5;1,2,3\n", {"a": [0.5], "b": ["1,2,3"]}),
    ],
)
def test_decimal_commas_where_cells_stand_between_other_marks(read, text, expected):
    assert read(text).table.to_pydict() == expected


def test_names_that_look_like_numbers_stay_names(read):
    assert read("run,rank\n007,08\n1e-5,8\n", "run", "nothing").table.to_pydict() == {
        "run": ["007", "1e-5"],
        "rank": [8, 8],
    }


def test_columns_without_a_name_and_pandas_index_are_left_out(read, tmp_path):
    frame = pd.DataFrame({"g": pd.Categorical(["a", "b"]), "x": np.array([1, 2], np.float16)}, index=[5, 7])
    assert read(frame.to_csv()).table.column_names == ["g", "x"]
    frame.astype({"x": float}).to_parquet(tmp_path / "t.parquet")
    for sheet in (read_sheet(tmp_path / "t.parquet"), sheet_of(frame)):
        assert sheet.table.to_pydict() == {"g": ["a", "b"], "x": [1.0, 2.0]}
        assert sheet.place(1) == "row 2"


def test_a_name_stands_once_in_any_kind_of_table(tmp_path):
    table = pa.table([[1], [2]], names=["a", "a"])
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(TableError, match=r"2 columns \(1, 2\) are called 'a'"):
        read_sheet(tmp_path / "t.parquet")
    with pytest.raises(TableError, match="the table: 2 columns"):
        sheet_of(table)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(TableError, match=r"none\.csv: cannot be read \(No such file"):
        read_sheet(tmp_path / "none.csv")
