"""Anybody's table of runs as the one table, so that our questions can be asked of it."""

# pyright: reportAttributeAccessIssue=false
# pyarrow makes its compute functions when it is imported
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tunescope.errors import TableError
from tunescope.results.cells import Codes, codes, given, joined, numbers, texts, whole
from tunescope.results.columns import Columns
from tunescope.results.replicates import Replicates, replicates
from tunescope.results.row import ENCODED, TEXT_BY_NUMBER
from tunescope.results.sheet import Sheet
from tunescope.results.table import Table
from tunescope.study.question import Question

SHOWN = 8  # names in one sentence


@dataclass(frozen=True)
class Foreign:
    """Somebody else's table, read.

    Args:
        table: as ours.
        said: how it was understood, in one sentence: what tells runs apart decides what is a replicate.
    """

    table: Table
    said: str


def foreign(sheet: Sheet, columns: Columns, questions: Sequence[Question], drop_nan: bool = False) -> Foreign:
    """A wide or a long table as the one table.

    Wide: each row is a run, each column of numbers a metric; where columns such as `layer` tell the rows of a
    run apart, a run has several rows. Long: each row is one measurement. For what is a run, see `replicates`.
    Empty cells are numbers that were not measured.

    Args:
        sheet: what was read.
        columns: what each column says; those that are called so need not be given.
        questions: what will be asked: their metrics must be numbers, their factors are no metrics.
        drop_nan: let numbers that are not finite pass; their runs then stay out of an answer, which says so.

    Raises:
        TableError: a column is missing or holds something else than it should, runs cannot be told apart, one
            number stands twice, or a number that is asked about is not finite.
    """
    sure = columns.factors or {name for question in questions for name in (*question.held, *question.fixed)}
    columns = columns.in_names(sheet).fitted(sheet, questions)
    _grouped(sheet, columns, questions)
    runs = replicates(sheet, columns, sure)
    asked = {number.metric for question in questions for number in question.numbers}
    parts = list((_long if columns.long else _wide)(sheet, columns, runs, asked, drop_nan))
    table = Table(pa.concat_tables(parts), runs.table)
    return Foreign(table, _said(sheet, columns, runs, table))


def _grouped(sheet: Sheet, columns: Columns, questions: Sequence[Question]) -> None:
    """Refuse questions about groups of a table of which no column names the group."""
    groups = {group for question in questions for group in (*(question.compare or ()), *question.among)}
    if columns.group is not None or not groups:
        return
    holds = [
        name
        for name in sheet.table.column_names
        if pa.types.is_string(sheet.table.column(name).type)
        and groups <= set(sheet.table.column(name).unique().to_pylist())
    ]
    named = ", ".join(map(repr, sorted(groups)))
    hint = f"--group {holds[0]} would do" if holds else f"known: {', '.join(sheet.table.column_names)}"
    raise TableError(
        f"{sheet.name}: the questions name groups ({named}), and no column says which group a run is in; "
        f"give it with --group COLUMN ({hint})"
    )


def _wide(
    sheet: Sheet, columns: Columns, runs: Replicates, asked: Collection[str], drop_nan: bool
) -> Iterator[pa.Table]:
    within = _within(sheet, columns)
    place = joined([runs.of, *map(codes, map(_chunked, within.values()))], len(runs.of))
    several = int(place.max()) + 1 < len(place)
    for name in sorted(columns.metric or (), key=lambda name: name not in asked):
        values = numbers(sheet, name)
        there = np.flatnonzero(pc.is_valid(values).to_numpy(zero_copy_only=False))
        if several:
            _once(sheet, columns, runs, place, there, name)
        if name in asked and not drop_nan:
            _finite(sheet, name, repr(name), values, there)
        metric = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(there), np.int32)), pa.array([name]))
        yield _part(runs, metric, within, values, there)
    if not columns.metric:
        raise TableError(
            f"{sheet.name}: no column of numbers is left to ask about; name one with --metric, known: "
            f"{', '.join(sheet.table.column_names)}"
        )


def _long(
    sheet: Sheet, columns: Columns, runs: Replicates, asked: Collection[str], drop_nan: bool
) -> Iterator[pa.Table]:
    assert columns.long is not None
    metric, value = columns.long
    given(sheet, metric, "a metric")
    within, values, named = _within(sheet, columns), numbers(sheet, value), texts(sheet, metric)
    there = np.flatnonzero(pc.is_valid(values).to_numpy(zero_copy_only=False))
    place = joined(
        [runs.of, codes(_chunked(named)), *map(codes, map(_chunked, within.values()))], len(runs.of)
    )
    _once(sheet, columns, runs, place, there, "")
    if not drop_nan:
        about = pc.is_in(named, pa.array(sorted(asked), pa.string())).to_numpy(zero_copy_only=False)
        _finite(sheet, value, f"{value!r}", values, there[about[there]])
    yield _part(
        runs, named.dictionary_encode().cast(TEXT_BY_NUMBER).take(pa.array(there)), within, values, there
    )


def _chunked(column: pa.Array) -> pa.ChunkedArray:
    return pa.chunked_array([column])


def _within(sheet: Sheet, columns: Columns) -> dict[str, pa.Array]:
    """What tells the rows of a run apart, as the one table has it."""
    found: dict[str, pa.Array] = {}
    for name, column in columns.within.items():
        kind = ENCODED.field(name).type
        read = whole if pa.types.is_integer(kind) else numbers if pa.types.is_floating(kind) else texts
        found[name] = read(sheet, column)
    return found


def _once(sheet: Sheet, columns: Columns, runs: Replicates, place: Codes, there: Codes, metric: str) -> None:
    """Refuse two numbers of one metric of one run."""
    _, first, back = np.unique(place[there], return_index=True, return_inverse=True)
    again = np.flatnonzero(first[back] != np.arange(len(there)))
    if not len(again):
        return
    other = int(there[again[0]])
    one = int(there[first[back[again[0]]]])
    if columns.long is not None:
        metric = str(sheet.table.column(columns.long[0])[other].as_py())
    metrics = f"; read as metrics are {_few(columns.metric)}" if columns.metric else ""
    raise TableError(
        f"{sheet.name}: {sheet.place(one)} and {sheet.place(other)} both hold {metric!r} of the run "
        f"{runs.names[runs.of[other]]!r} (runs are told apart by {', '.join(runs.apart) or 'nothing'}). Two "
        "runs? Name what tells them apart with --run or --factors. Two parts of one run? Then with --layer, "
        f"--head, --split, --component or --step{metrics}"
    )


def _finite(sheet: Sheet, column: str, what: str, values: pa.Array, rows: Codes) -> None:
    wrong = rows[~np.isfinite(values.to_numpy(zero_copy_only=False)[rows])].tolist()
    if wrong:
        raise TableError(
            f"{sheet.name}: the column {what} holds what is no finite number: {sheet.cells(column, wrong)}; "
            "mend them, empty the cell where nothing was measured, or leave out their runs with --drop-nan"
        )


def _part(
    runs: Replicates, metric: pa.DictionaryArray, within: dict[str, pa.Array], values: pa.Array, there: Codes
) -> pa.Table:
    """Rows of the one table, from those of a sheet that hold a number."""
    rows = pa.array(there)
    own = {
        "run": pa.DictionaryArray.from_arrays(pa.array(runs.of[there].astype(np.int32)), pa.array(runs.names))
    }
    probes = pa.array([name.split(".", 1)[0] for name in metric.dictionary.to_pylist()], pa.string())
    own |= {"metric": metric, "probe": pa.DictionaryArray.from_arrays(metric.indices, probes)}
    own |= {name: column.take(rows) for name, column in within.items()} | {"value": values.take(rows)}
    columns = []
    for field in ENCODED:
        column = own.get(field.name, pa.nulls(len(there), field.type))
        if pa.types.is_string(column.type):
            column = column.dictionary_encode()
        columns.append(column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=ENCODED)


def _said(sheet: Sheet, columns: Columns, runs: Replicates, table: Table) -> str:
    groups = list(dict.fromkeys(runs.table.column("group").to_pylist()))
    metrics, factors = table.metrics(), runs.table.column_names[6:]
    apart = f"told apart by {', '.join(runs.apart)}" if runs.apart else "one in each row"
    parts = [f"{sheet.name}: {runs.table.num_rows} runs, {apart}", f"groups: {_few(groups)}"]
    parts += [f"metrics: {_few(metrics)}"] + ([f"factors: {_few(factors)}"] if factors else [])
    parts += [f"each run's rows by {_few(list(columns.within.values()))}"] if columns.within else []
    return "; ".join(parts + ([f"not used: {_few(list(runs.unused))}"] if runs.unused else []))


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
