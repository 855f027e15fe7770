"""From the store to the table: all rows of a study's runs in one read."""

import glob
import os
from collections.abc import Mapping, Sequence

import duckdb
import numpy as np
import pyarrow as pa

from tunescope.errors import StoreError
from tunescope.results.compact import Span, arranged
from tunescope.results.published import Published
from tunescope.results.row import ENCODED, encoded
from tunescope.results.runs import runs_table
from tunescope.results.snapshot import Snapshot, Standing
from tunescope.results.store import Store
from tunescope.study.study import Member


def gather(store: Store, members: Sequence[tuple[str, Member]], study: str) -> tuple[pa.Table, pa.Table]:
    """The rows (schema `ENCODED`) and the runs of a study. A run that two members share brings its rows once.

    Runs that the compact file holds are read from it, the others from their own files; it is the same table.

    Raises:
        StoreError: a published run cannot be read; it is named.
    """
    snapshot = Snapshot(store)
    standings: dict[str, Standing] = {}
    for run, _ in members:
        if run not in standings:
            standings[run] = snapshot.standing(run)
    records = []
    for run, member in members:
        record = {"run": run, "study": study, "group": member.group, "name": member.name}
        records.append(record | {"status": standings[run].status, "cause": standings[run].cause})
    runs = runs_table(records, [member.factors for _, member in members])
    published = [run for run, standing in standings.items() if standing.status != "missing"]
    try:
        return _rows(snapshot, published), runs
    except (duckdb.Error, OSError, ValueError, KeyError, pa.ArrowException) as error:
        problems = "; ".join(map(str, store.verify(published))) or str(error)
        raise StoreError(
            f"{store.root}: {problems}; discard what is damaged (`tunescope verify` says how) and run the "
            "study again: only that is computed"
        ) from error


def _rows(snapshot: Snapshot, published: Sequence[str]) -> pa.Table:
    held = {run: one for run in published if (one := snapshot.held(run)) is not None}
    compact = snapshot.compact.rows if held else ENCODED.empty_table()
    spans: dict[str, Span] = {run: (one.start, one.length) for run, one in held.items()}
    single = _single({run: snapshot.find(run) for run in published if run not in held})
    for run, (start, count) in _spans(single).items():
        spans[run] = (compact.num_rows + start, count)
    rows = pa.concat_tables([part for part in (compact, single) if part.num_rows] or [single])
    if rows.column("run").num_chunks > 1:
        rows = rows.unify_dictionaries().combine_chunks()
    return arranged(rows, (spans[run] for run in published if run in spans))


def _single(published: Mapping[str, Published | None]) -> pa.Table:
    """The rows of runs from their own files."""
    files = [found.folder / "rows.parquet" for found in published.values() if found is not None]
    paths = [glob.escape(os.path.abspath(file)) for file in files if file.exists()]
    if not paths:
        return ENCODED.empty_table()
    # DuckDB reads a thousand small files six times faster than Arrow does.
    with duckdb.connect(":memory:", config={"threads": 1}) as database:
        rows = encoded(
            database.sql(
                "SELECT * FROM read_parquet($paths, hive_partitioning = false, union_by_name = true)",
                params={"paths": paths},
            ).to_arrow_table()
        )
    strange = set(rows.column("run").unique().to_pylist()) - set(published)
    if strange:
        raise ValueError(f"rows of run {min(map(str, strange))!r} stand in another run's folder")
    return rows


def _spans(rows: pa.Table) -> dict[str, Span]:
    """Where the rows of each run lie; a run's rows are together."""
    if not rows.num_rows:
        return {}
    column = rows.column("run").combine_chunks()
    numbers = column.indices.to_numpy()
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    counts = np.diff(starts, append=len(numbers))
    names = column.dictionary.take(pa.array(numbers[starts])).to_pylist()
    return dict(zip(names, zip(starts.tolist(), counts.tolist(), strict=True), strict=True))
