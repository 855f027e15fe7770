"""The table on disk: two Parquet files that know of each other, and a CSV that no spreadsheet executes."""

import hashlib
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from tunescope.errors import TableError
from tunescope.results.durable import replace
from tunescope.results.query import ask
from tunescope.results.row import ROWS
from tunescope.results.runs import RUNS
from tunescope.results.whole_file import read_whole

WRITTEN_WITH = b"tunescope.rows_sha256"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def write_table(folder: Path, rows: pa.Table, runs: pa.Table) -> None:
    """Write `rows.parquet`, `runs.parquet` and `table.csv` (every row beside its run).

    Each file is replaced at once, and `runs.parquet` holds the sha256 of the rows that belong to it.

    Raises:
        TableError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        encoded = _parquet(rows)
        runs_metadata = {WRITTEN_WITH: hashlib.sha256(encoded).hexdigest().encode()}
        replace(folder / "rows.parquet", encoded)
        replace(folder / "runs.parquet", _parquet(runs.replace_schema_metadata(runs_metadata)))
        replace(folder / "table.csv", _csv(rows, runs))
    except OSError as error:
        raise TableError(f"{folder}: the table cannot be written: {error.strerror or error}") from error


def read_table(folder: Path) -> tuple[pa.Table, pa.Table]:
    """The rows and the runs that `write_table` wrote.

    Raises:
        TableError: a file is missing or is no table, or the two are not of one writing.
    """
    try:
        encoded = read_whole(folder / "rows.parquet")
        rows = pq.ParquetFile(pa.BufferReader(encoded)).read()
        runs = pq.ParquetFile(pa.BufferReader(read_whole(folder / "runs.parquet"))).read()
    except (OSError, pa.ArrowException) as error:
        raise TableError(
            f"{folder}: there is no table that can be read ({error}); expected rows.parquet and "
            "runs.parquet, as `tunescope report` writes them"
        ) from None
    written_with = (runs.schema.metadata or {}).get(WRITTEN_WITH)
    if written_with is not None and written_with.decode() != hashlib.sha256(encoded).hexdigest():
        raise TableError(
            f"{folder}: rows.parquet and runs.parquet are not of one writing; write both again with "
            "`tunescope report`"
        )
    return rows, runs.replace_schema_metadata(None)


def inert(text: str) -> str:
    """A text with an apostrophe before it if a spreadsheet would take it for a formula.

    >>> inert("=1+1"), inert("-1.5e-3"), inert("lora")
    ("'=1+1", '-1.5e-3', 'lora')
    """
    return f"'{text}" if text.startswith(FORMULA) and not NUMBER.fullmatch(text) else text


def _inert_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_string(column.type):
        return column
    encoded = column.combine_chunks().dictionary_encode()  # each text is looked at once
    texts = pa.array([inert(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([texts.take(encoded.indices)])


def _parquet(table: pa.Table) -> bytes:
    stream = pa.BufferOutputStream()
    pq.write_table(table, stream, compression="zstd")
    return stream.getvalue().to_pybytes()


def _csv(rows: pa.Table, runs: pa.Table) -> bytes:
    joined = ask(
        "SELECT runs.* EXCLUDE (place), rows.* EXCLUDE (run, place) "
        "FROM (SELECT *, row_number() OVER () AS place FROM runs) AS runs "
        "JOIN (SELECT *, row_number() OVER () AS place FROM rows) AS rows ON rows.run = runs.run "
        "ORDER BY runs.place, rows.place",
        [],
        rows=rows,
        runs=runs,
    )
    factors = [f"run_{name}" if name in ROWS.names else name for name in runs.column_names[len(RUNS) :]]
    names = [*RUNS.names, *factors, *ROWS.names[1:]]
    columns = [_inert_column(column) for column in joined.columns]
    stream = pa.BufferOutputStream()
    pacsv.write_csv(pa.Table.from_arrays(columns, names=[inert(name) for name in names]), stream)
    return stream.getvalue().to_pybytes()
