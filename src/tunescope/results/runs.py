"""The runs of a study as a table: who they are, how they ended, and the factors that they vary."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

Factor = float | int | str

OWN = ("run", "study", "group", "name", "status", "cause")
RUNS = pa.schema([(name, pa.string()) for name in OWN])


def runs_table(
    records: Sequence[Mapping[str, str | None]], factors: Sequence[Mapping[str, Factor]]
) -> pa.Table:
    """One row for each run: the columns `RUNS`, then one for each factor of any run.

    A factor's column is of numbers where all of its values are numbers, else of texts; it is null for runs
    without the factor. A factor called like a column of `RUNS` becomes `factor_<name>`.

    >>> record = {"run": "ab", "study": "s", "group": "full", "name": "full", "status": "done", "cause": None}
    >>> runs_table([record, record], [{"lr": 1, "rank": "a"}, {"lr": 0.5}]).select(["lr", "rank"]).to_pydict()
    {'lr': [1.0, 0.5], 'rank': ['a', None]}
    """
    columns: dict[str, pa.Array] = {
        field.name: pa.array([record[field.name] for record in records], field.type) for field in RUNS
    }
    for name in dict.fromkeys(name for own in factors for name in own):
        column = f"factor_{name}" if name in OWN else name
        columns[column] = _column([own.get(name) for own in factors])
    return pa.table(columns)


def factors_of(run: Mapping[str, Any]) -> dict[str, Factor]:
    """The factors in one row of the runs table; those that the run does not have are left out."""
    return {name: value for name, value in run.items() if name not in OWN and value is not None}


def _column(values: list[Factor | None]) -> pa.Array:
    said = [value for value in values if value is not None]
    if all(isinstance(value, int) and abs(value) < 2**63 for value in said):
        return pa.array(values, pa.int64())
    if all(isinstance(value, float) or (isinstance(value, int) and abs(value) <= 2**53) for value in said):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())
