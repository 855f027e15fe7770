"""SQL over Arrow tables that can reach nothing but these tables."""

from collections.abc import Sequence
from functools import cache

import duckdb
import pyarrow as pa

from tunescope.errors import TableError

CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,  # or a query could name any Python variable
    "threads": 1,  # sums in one order, so that the same table gives the same numbers to the last bit
    "lock_configuration": True,
}


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One closed, empty database for this process: to open one takes twenty times as long as to ask it."""
    return duckdb.connect(":memory:", config=CLOSED)


def ask(query: str, parameters: Sequence[str | int], **views: pa.Table) -> pa.Table:
    """The answer to one SELECT over `views`, which reaches no file, no network and no other query.

    Raises:
        TableError: the query is not understood, is no SELECT, or asks for something outside.

    >>> ask("select sum(value) as total from rows", [], rows=pa.table({"value": [1.0, 2.5]})).to_pylist()
    [{'total': 3.5}]
    """
    with _database().cursor() as cursor:
        try:
            statements = cursor.extract_statements(query)
            if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                raise TableError(f"expected one SELECT over {' and '.join(views)}, got the query {query!r}")
            for name, table in views.items():
                cursor.register(name, table)  # a temporary view, which this cursor alone sees
            return cursor.sql(statements[0], params=list(parameters)).to_arrow_table()
        except duckdb.Error as error:
            raise TableError(f"the query cannot be answered: {error}") from None
