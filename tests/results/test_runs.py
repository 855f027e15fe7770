import pyarrow as pa
import pytest

from tunescope.results.runs import RUNS, factors_of, runs_table

RECORD = {"run": "ab", "study": "s", "group": "g", "name": "n", "status": "done", "cause": None}


def runs_of(*factors):
    return runs_table([RECORD] * len(factors), factors)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 1, 2**63 - 1], pa.int64()),
        ([1, 0.5], pa.float64()),
        ([8, "all"], pa.string()),
        ([2**63, 1], pa.string()),
        ([2**60, 0.5], pa.string()),
        (["a", "b"], pa.string()),
    ],
)
def test_a_factor_is_of_numbers_where_all_of_it_is(values, kind):
    column = runs_of(*({"x": value} for value in values)).column("x")
    assert column.type == kind
    assert column.to_pylist() == [str(value) if kind == pa.string() else value for value in values]


def test_columns_are_the_union_of_the_runs_factors():
    table = runs_of({"lr": 0.1, "rank": 8}, {"lr": 0.2}, {"seed": 0})
    assert table.column_names == [*RUNS.names, "lr", "rank", "seed"]
    assert table.column("rank").to_pylist() == [8, None, None]
    assert [factors_of(run) for run in table.to_pylist()] == [
        {"lr": 0.1, "rank": 8},
        {"lr": 0.2},
        {"seed": 0},
    ]


def test_a_factor_does_not_take_a_columns_name():
    table = runs_of({"status": "x"})
    assert table.column("status").to_pylist() == ["done"]
    assert table.column("factor_status").to_pylist() == ["x"]


def test_no_runs_are_an_empty_table():
    assert runs_of().num_rows == 0
