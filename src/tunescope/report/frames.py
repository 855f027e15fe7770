"""What the charts draw: small lists of plain records, aggregated from the one table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tunescope.results.table import ALONG
from tunescope.stats.setting import setting

if TYPE_CHECKING:
    from tunescope.results.table import Table

Factor = float | int | str
Where = Mapping[str, str]  # column of the table → glob

ENTROPY = "attention.entropy.change"

ABOUT = ("run", "study", "group", "name", "status", "cause")  # the runs' columns that are not factors


@dataclass(frozen=True)
class Run:
    """One run of the table, as people know it.

    Args:
        id: its identity.
        group: the group of the study it belongs to.
        name: unique within the study.
        status: `done`, `failed` or `missing`.
        cause: why it failed or is missing; empty otherwise.
        factors: what varies within the group, such as `{"lr": 0.001, "seed": 0}`.
    """

    id: str
    group: str
    name: str
    status: str
    cause: str
    factors: Mapping[str, Factor]

    @property
    def setting(self) -> str:
        """The run without its seed: runs of one setting are replicates.

        >>> Run("a1", "lora", "lora lr=0.001 seed=2", "done", "", {"lr": 0.001, "seed": 2}).setting
        'lora lr=0.001'
        """
        return setting(self.group, self.factors)

    @property
    def lr(self) -> float | None:
        """The learning rate, where the table says it and a logarithm can be taken of it."""
        value = self.factors.get("lr")
        return float(value) if isinstance(value, (int, float)) and value > 0 else None


def short(value: Factor) -> str:
    """A factor's value as it stands in a run's name.

    >>> short(1e-5), short(3), short("q,v")
    ('1e-05', '3', 'q,v')
    """
    return f"{value:g}" if isinstance(value, float) else str(value)


def runs(table: "Table") -> list[Run]:
    """Every run of the table, by group in order of first appearance, then by learning rate, then as listed.

    Two of them may share an identity: one run that stands in two groups.
    """
    found = [_run(record) for record in table.runs.to_pylist()]
    order = list(dict.fromkeys(run.group for run in found))
    return sorted(found, key=lambda run: (order.index(run.group), run.lr or 0.0))


def _run(record: Mapping[str, Any]) -> Run:
    factors = {key: value for key, value in record.items() if key not in ABOUT and value is not None}
    group = record.get("group") or "runs"
    name = record.get("name") or record["run"]
    return Run(record["run"], group, name, record.get("status") or "done", record.get("cause") or "", factors)


def done(table: "Table") -> list[Run]:
    """The runs that ended well, in the same order."""
    return [run for run in runs(table) if run.status == "done"]


def groups(table: "Table") -> list[str]:
    """The groups' names, in order of first appearance."""
    return list(dict.fromkeys(run.group for run in runs(table)))


def read(
    table: "Table",
    metric: str,
    where: Where | None = None,
    by: Sequence[str] = ("run",),
    *,
    magnitude: bool = False,
) -> list[dict[str, Any]]:
    """Means of a metric's values over everything that `by` does not name.

    Rows that stand at a step of the training, or at a point of a curve, stay out unless `by` or `where` names
    that column.

    Args:
        table: the one table.
        metric: its name, as it stands there.
        where: column → glob; a row that is empty in a column that is asked for does not pass.
        by: the columns to keep apart.
        magnitude: mean of |value| instead of the signed mean.

    Returns:
        one record for each combination: the columns of `by` and a finite `value`. No rows, no records.
    """
    rows = table.rows.filter(pc.field("metric") == metric)
    for column in ALONG:
        if column not in by and column not in (where or {}):
            rows = rows.filter(pc.field(column).is_null())
    for column, glob in (where or {}).items():
        known = [value for value in rows.column(column).unique().to_pylist() if value is not None]
        wanted = pa.array(
            [value for value in known if fnmatchcase(str(value), glob)], rows.schema.field(column).type
        )
        rows = rows.filter(pc.field(column).isin(wanted))
    if magnitude:
        absolute = pa.array(np.abs(rows.column("value").to_numpy()))
        rows = rows.set_column(rows.schema.get_field_index("value"), "value", absolute)
    means = rows.group_by(list(by), use_threads=False).aggregate([("value", "mean")])
    records = means.rename_columns([*by, "value"]).to_pylist()
    return [record for record in records if record["value"] is not None and math.isfinite(record["value"])]


def per_run(
    table: "Table", metric: str, where: Where | None = None, *, magnitude: bool = False
) -> dict[str, float]:
    """One number for each run that is done: run's identity → mean."""
    ended = {run.id for run in done(table)}
    records = read(table, metric, where, magnitude=magnitude)
    return {record["run"]: record["value"] for record in records if record["run"] in ended}


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean of at least one value.

    >>> mean([1.0, 2.0, 6.0])
    3.0
    """
    return math.fsum(values) / len(values)
