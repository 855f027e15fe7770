import pyarrow as pa
import pytest

from tunescope.errors import TableError
from tunescope.results.query import ask

SECRET = pa.table({"secret": [1]})
ROWS = pa.table({"value": [1.0, 2.0]})


def test_parameters_are_values():
    assert ask("SELECT value FROM rows WHERE value > ?", [1], rows=ROWS).to_pylist() == [{"value": 2.0}]


def test_a_query_sees_no_files_no_variables_and_no_network(tmp_path):
    inside = tmp_path / "inside.csv"
    inside.write_text("a\n1\n", encoding="utf-8")
    outside = tmp_path / "outside.csv"
    for query in (
        f"SELECT * FROM '{inside}'",
        f"SELECT * FROM read_csv('{inside}')",
        f"SELECT * FROM read_text('{inside}')",
        f"SELECT * FROM glob('{tmp_path}/*')",
        f"COPY rows TO '{outside}'",
        f"ATTACH '{outside}' AS other",
        f"EXPORT DATABASE '{tmp_path}/all'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SELECT * FROM SECRET",
        "SELECT * FROM read_csv('https://localhost:1/x.csv')",
    ):
        with pytest.raises(TableError, match=r"the query cannot be answered|expected one SELECT"):
            ask(query, [], rows=ROWS)
    assert list(tmp_path.iterdir()) == [inside]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "-- nothing",
        "DROP VIEW rows",
        "CREATE TABLE t AS SELECT 1",
        "SELECT 1; SELECT 2",
        "PRAGMA threads = 2",
    ],
)
def test_only_one_select_is_a_query(query):
    with pytest.raises(TableError, match="expected one SELECT over rows, got the query"):
        ask(query, [], rows=ROWS)


def test_a_query_sees_nothing_of_the_one_before():
    ask("SELECT 1", [], rows=ROWS, secret=SECRET)
    with pytest.raises(TableError, match="secret does not exist"):
        ask("SELECT * FROM secret", [], rows=ROWS)


@pytest.mark.parametrize("query", ["SELEC 1", "SELECT nothing FROM rows", "SELECT 1 +", "SELECT * FROM runs"])
def test_what_is_not_understood_is_an_error_of_ours(query):
    with pytest.raises(TableError, match="the query cannot be answered"):
        ask(query, [], rows=ROWS)
