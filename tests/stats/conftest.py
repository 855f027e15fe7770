from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest

from tunescope.results.row import ROWS
from tunescope.results.table import Table

Run = Mapping[str, Any]


def table(runs: Sequence[Run]) -> Table:
    """A table of runs given as {group, factors, status?, cause?, rows: [{metric, value, …}]}."""
    records: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for i, run in enumerate(runs):
        factors = run.get("factors", {})
        name = " ".join([run["group"], *(f"{key}={value}" for key, value in factors.items())])
        facts = {"run": f"run{i}", "study": "s", "group": run["group"], "name": name}
        records.append(
            facts | {"status": run.get("status", "done"), "cause": run.get("cause")} | dict(factors)
        )
        for row in run.get("rows", ()):
            given = {"run": f"run{i}", "probe": row["metric"].split(".")[0]}
            rows.append(dict.fromkeys(ROWS.names) | given | dict(row))
    columns = list(dict.fromkeys(key for record in records for key in record))
    return Table(
        pa.Table.from_pylist(rows, schema=ROWS),
        pa.table({column: [record.get(column) for record in records] for column in columns}),
    )


@pytest.fixture
def make_table() -> Callable[[Sequence[Run]], Table]:
    return table


@pytest.fixture(scope="session")
def make_table_once() -> Callable[[Sequence[Run]], Table]:
    """`make_table` where hypothesis asks for a fixture that outlives one example."""
    return table
