"""The one table: every measurement of a study, and the numbers that its questions ask for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from tunescope.errors import TableError, nearest
from tunescope.results.gather import gather
from tunescope.results.query import ask
from tunescope.results.row import ROWS, encoded
from tunescope.results.runs import RUNS, Factor, factors_of
from tunescope.results.store import Store
from tunescope.results.tablefile import read_table, write_table
from tunescope.study.study import Member

Reduce = Literal["mean", "mean_abs", "max", "min"]
Where = Mapping[str, str | int]

FILTERS = ("tower", "layer", "head", "component", "split", "step", "point")
LOOKS = {"first": "min", "last": "max"}  # `step` may ask for a run's first or last one after the start
PLACES = ("layer", "head")
ALONG = ("step", "point")  # rows that stand somewhere along these are asked for by them, or stay out
REDUCED: dict[str, str] = {
    "mean": "avg(value)",
    "mean_abs": "avg(abs(value))",
    "max": "CASE WHEN bool_or(isnan(value)) THEN 'nan'::DOUBLE ELSE max(value) END",
    "min": "CASE WHEN bool_or(isnan(value)) THEN 'nan'::DOUBLE ELSE min(value) END",
}


@dataclass(frozen=True)
class RunValue:
    """One number of one run.

    Args:
        run: the run's identity.
        group: the group that it belongs to.
        name: its name in the study.
        factors: what varies between runs (`lr`, `seed`, …); factors that this run does not have are left out.
        value: the number; not finite where a row that it comes from is not.
        layer: the layer, where numbers are by layer or by head.
        head: the head of that layer, where numbers are by head.
    """

    run: str
    group: str
    name: str
    factors: dict[str, Factor]
    value: float
    layer: int | None = None
    head: int | None = None


class Table:
    """Measurements, and the runs that they belong to.

    Args:
        rows: one row for each measurement, with the columns of `ROWS`; texts may be dictionary-encoded, and
            `point` may be missing.
        runs: one row for each run of the study: run (identity), study, group, name, status (`done`, `failed`,
            `missing`), cause, and one column for each factor. Two members of a study may share a run.

    Raises:
        TableError: a column is missing or holds something else than it should.
    """

    def __init__(self, rows: pa.Table, runs: pa.Table):
        factors = [field for field in runs.schema if field.name not in RUNS.names]
        with _fitting(rows, ROWS.remove(ROWS.get_field_index("point")), "rows"):
            self._rows = encoded(rows)  # is asked three times as fast as with every text written out
        schema = pa.schema([*RUNS, *factors])
        with _fitting(runs, schema, "runs"):
            self.runs = runs.select(schema.names).cast(schema)

    @cached_property
    def rows(self) -> pa.Table:
        """One row for each measurement, of schema `ROWS`."""
        return self._rows.cast(ROWS)

    @cached_property
    def _records(self) -> list[tuple[dict[str, Any], dict[str, Factor]]]:
        """The rows of `runs`, each with its factors."""
        return [(run, factors_of(run)) for run in self.runs.to_pylist()]

    @classmethod
    def gather(cls, store: Store, members: Sequence[tuple[str, Member]], study_name: str) -> "Table":
        """The table of a study, from what its store holds; runs that are not there are `missing`.

        Args:
            store: where the runs are published.
            members: the study's runs, each with its identity.
            study_name: goes into the column `study`.

        Raises:
            StoreError: a published run cannot be read; it is named.
        """
        return cls(*gather(store, members, study_name))

    @classmethod
    def read(cls, folder: str | Path) -> "Table":
        """The table that `write` put into a folder.

        Raises:
            TableError: a file is missing or is no table, or the files are not of one writing.
        """
        return cls(*read_table(Path(folder)))

    def write(self, folder: str | Path) -> None:
        """Write `rows.parquet`, `runs.parquet` and, for spreadsheets, `table.csv`, each replaced at once.

        Raises:
            TableError: the folder cannot be written.
        """
        write_table(Path(folder), self.rows, self.runs)

    def metrics(self) -> list[str]:
        """The metrics that the table holds, in alphabetical order."""
        return sorted(self._rows.column("metric").unique().drop_null().to_pylist())

    def sql(self, query: str) -> pa.Table:
        """Ask the table in SQL: its views are `rows` and `runs`. The query can reach nothing else.

        Raises:
            TableError: the query is not understood, or asks for something outside the table.

        >>> from tunescope.results.row import Row, rows_table
        >>> runs = {name: ["done" if name == "status" else "a"] for name in RUNS.names} | {"lr": [0.1]}
        >>> rows = [Row("transfer.acc1", 0.5), Row("transfer.acc1", 0.7)]
        >>> table = Table(rows_table("a", rows), pa.table(runs))
        >>> table.sql("select lr, max(value) as best from rows join runs using (run) group by lr").to_pylist()
        [{'lr': 0.1, 'best': 0.7}]
        """
        return ask(query, [], rows=self._rows, runs=self.runs)

    def per_run(
        self,
        metric: str,
        where: Where | None = None,
        reduce: Reduce = "mean",
        groups: Iterable[str] | None = None,
    ) -> list[RunValue]:
        """One number for each run that is done: `reduce` over the rows that `where` lets through.

        Rows of training steps (those with a `step`) stay out unless `where` asks for steps. A run without
        such a row is left out. One row that is not a number makes its run's number not a number.

        Args:
            metric: as it stands in the table.
            where: globs on tower, layer, head, component, split and step, such as `{"split": "shift:*"}`;
                what is empty in the table is the empty text, so `""` asks for it and `"?*"` for the rest.
                `step: first` is the metric's first step after step 0 in each run, `step: last` its last.
            reduce: `mean`, `mean_abs` (mean of absolute values), `max` or `min`.
            groups: only runs of these groups; None = all.

        Returns:
            in the order of `runs`.

        Raises:
            TableError: an unknown metric, column, reduction or group, with the nearest known one.

        >>> from tunescope.results.row import Row, rows_table
        >>> runs = pa.table({name: ["done" if name == "status" else "a"] for name in RUNS.names})
        >>> rows = [Row("transfer.acc1", 0.5, split="shift:x"), Row("transfer.acc1", 0.9, split="test")]
        >>> Table(rows_table("a", rows), runs).per_run("transfer.acc1", {"split": "shift:*"})[0].value
        0.5
        """
        return self._reduced(metric, where or {}, reduce, groups)

    def per_layer(
        self,
        metric: str,
        where: Where | None = None,
        reduce: Reduce = "mean",
        groups: Iterable[str] | None = None,
    ) -> list[RunValue]:
        """As `per_run`, with one number for each layer of each run; rows without a layer stay out."""
        return self._reduced(metric, where or {}, reduce, groups, ("layer",))

    def per_head(
        self,
        metric: str,
        where: Where | None = None,
        reduce: Reduce = "mean",
        groups: Iterable[str] | None = None,
    ) -> list[RunValue]:
        """As `per_run`, with one number for each head of each layer; rows without a head stay out."""
        return self._reduced(metric, where or {}, reduce, groups, ("layer", "head"))

    def curve(self, metric: str, where: Where | None = None) -> pa.Table:
        """The rows of a metric that have a step, of all runs, failed ones too, in the order of steps.

        Returns:
            columns run, group, name, status, tower, layer, head, component, split, step, point, value.

        Raises:
            TableError: an unknown metric or column, with the nearest known one.
        """
        condition, parameters = self._condition(metric, {"step": "?*"} | dict(where or {}))
        columns = ", ".join(f"rows.{name}" for name in (*FILTERS, "value"))
        return ask(
            f'SELECT runs.run, runs."group", runs.name, runs.status, {columns} '
            "FROM (SELECT *, row_number() OVER () AS place FROM runs) AS runs "
            f"JOIN (SELECT * FROM rows WHERE {condition}) AS rows ON rows.run = runs.run "
            "ORDER BY runs.place, rows.step, rows.tower, rows.layer, rows.head, rows.component, rows.split",
            parameters,
            rows=self._rows,
            runs=self.runs,
        )

    def _reduced(
        self,
        metric: str,
        where: Where,
        reduce: str,
        groups: Iterable[str] | None,
        by: tuple[str, ...] = (),
    ) -> list[RunValue]:
        if reduce not in REDUCED:
            raise TableError(f"unknown reduction {reduce!r}; {nearest(reduce, REDUCED)}")
        wanted = self._groups(groups)
        condition, parameters = self._condition(metric, where)
        places = ", ".join(f"{each if each in by else 'NULL::INTEGER'} AS {each}" for each in PLACES)
        only = "".join(f" AND {each} IS NOT NULL" for each in by)
        found = ask(
            f"SELECT run, {places}, {REDUCED[reduce]} AS value FROM rows "
            f"WHERE value IS NOT NULL AND {condition}{only} GROUP BY ALL ORDER BY {', '.join(PLACES)}",
            parameters,
            rows=self._rows,
        )
        numbers: dict[str, list[tuple[int | None, int | None, float]]] = {}
        for run, layer, head, value in zip(*(column.to_pylist() for column in found.columns), strict=True):
            numbers.setdefault(run, []).append((layer, head, value))
        return [
            RunValue(run["run"], run["group"], run["name"], dict(factors), value, layer, head)
            for run, factors in self._records
            if run["status"] == "done" and run["group"] in wanted
            for layer, head, value in numbers.get(run["run"], ())
        ]

    def _groups(self, groups: Iterable[str] | None) -> set[str]:
        known = set(self.runs.column("group").to_pylist())
        wanted = known if groups is None else set(groups)
        for group in sorted(wanted - known):
            raise TableError(f"no run of the table is in group {group!r}; {nearest(group, known)}")
        return wanted

    def _condition(self, metric: str, where: Where) -> tuple[str, list[str]]:
        """The rows that are asked for, as SQL whose names are all ours, and the values that go into it."""
        if metric not in self.metrics():
            raise TableError(f"the table has no metric {metric!r}; {nearest(metric, self.metrics())}")
        terms, parameters = ["metric = ?"], [metric]
        for column, pattern in where.items():
            if column not in FILTERS:
                raise TableError(f"rows cannot be chosen by {column!r}; {nearest(column, FILTERS)}")
            if column == "step" and pattern in LOOKS:
                look = f"SELECT run, {LOOKS[str(pattern)]}(step) FROM rows WHERE metric = ? AND step > 0"
                terms.append(f"(run, step) IN ({look} GROUP BY run)")
                parameters.append(metric)
                continue
            text = f"coalesce({column}::VARCHAR, '')"
            pattern = _as_written(pattern) if column == "point" else str(pattern)
            terms.append(f"({text} = ? OR {text} GLOB ?)")  # = because names from data may hold brackets
            parameters += [pattern] * 2
        terms += [f"{column} IS NULL" for column in ALONG if column not in where]
        return " AND ".join(terms), parameters


def _as_written(point: str | int) -> str:
    """A number as the column `point` writes it; a glob as it is.

    >>> _as_written("1"), _as_written(".50"), _as_written("0.*")
    ('1.0', '0.5', '0.*')
    """
    try:
        return str(float(point))
    except ValueError:
        return str(point)


@contextmanager
def _fitting(table: pa.Table, schema: pa.Schema, what: str) -> Iterator[None]:
    for name in schema.names:
        if name not in table.column_names:
            raise TableError(f"{what}: column {name!r} is missing; {nearest(name, table.column_names)}")
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise TableError(f"{what}: a column holds something else than it should: {error}") from None
