"""Somebody else's table, as columns with names: a CSV, TSV or Parquet file, or a data frame."""

# pyright: reportAttributeAccessIssue=false
# pyarrow makes its compute functions when it is imported
import csv
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from tunescope.errors import TableError

MISSING = ["", "NA", "N/A", "#N/A", "n/a", "null", "NULL"]  # `nan` is no missing number: it is not one
DECIMAL_COMMA = r"^\s*[-+]?[0-9]*,[0-9]+([eE][-+]?[0-9]+)?\s*$"
HEADER_BYTES = 1 << 20
PANDAS_INDEX = re.compile(r"__index_level_[0-9]+__")
EXPECTED = "expected a CSV or TSV file in UTF-8, a Parquet file, or a folder that `tunescope report` wrote"


@dataclass(frozen=True)
class Sheet:
    """A table with named columns, and where its rows stand for the person who wrote it.

    Args:
        name: what it is called in messages.
        table: plain columns, each name once.
        path: the text file that it was read from; None where rows have no lines.
        delimiter: between that file's cells.
    """

    name: str
    table: pa.Table
    path: Path | None = None
    delimiter: str = ","

    @cached_property
    def _lines(self) -> np.ndarray | None:
        if self.path is None:
            return None
        return np.fromiter((line for line, _ in _records(self.path, self.delimiter)), np.int64)[1:]

    def place(self, row: int) -> str:
        """Where a row stands: its line in a text file, else its number, from 1."""
        return f"row {row + 1}" if self._lines is None else f"line {self._lines[row]}"

    def cells(self, column: str, rows: Sequence[int], first: int = 3) -> str:
        """The first few of some rows, and what stands there: `line 3 ('x'), line 5 ('y') and 4 more`."""
        values = self.table.column(column)
        shown = [f"{self.place(row)} ({_shown(values[row].as_py())})" for row in rows[:first]]
        return ", ".join(shown) + (f" and {len(rows) - first} more" if len(rows) > first else "")


def read_sheet(path: str | Path, texts: Collection[str] = ()) -> Sheet:
    """Read a foreign file; what kind it is, its content says.

    Cells of a text file stand between commas, semicolons or tabs; with the latter two a decimal comma is
    understood, if all of the file's numbers have one. Empty cells, `NA` and `null` are missing, `nan` is not
    a number. Columns without a name, and pandas's index in a Parquet file, are left out.

    Args:
        path: of the file.
        texts: columns whose cells are names, which are not to be taken for numbers.

    Raises:
        TableError: the file cannot be read as a table; where it can be told, the line is named.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
        if head.startswith(b"PAR1"):
            return Sheet(str(path), _plain(pq.ParquetFile(path).read(), str(path)))
    except (OSError, pa.ArrowException) as error:
        said = getattr(error, "strerror", None) or error
        raise TableError(f"{path}: cannot be read ({said}); {EXPECTED}") from None
    if not head.strip(b"\xef\xbb\xbf\r\n \t"):
        raise TableError(f"{path}: the file is empty; {EXPECTED}")
    if b"\0" in head or head.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        raise TableError(f"{path}: this is no text in UTF-8 (a workbook, an archive, UTF-16?); {EXPECTED}")
    return _text(path, head, texts)


def sheet_of(frame: Any) -> Sheet:
    """A table in memory: of Arrow, or a data frame of pandas, Polars or DuckDB, which Arrow can read.

    Raises:
        TableError: Arrow cannot read it as a table.
    """
    try:
        table = frame if isinstance(frame, pa.Table) else pa.table(frame)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise TableError(
            f"a table is a path, a Table or a data frame, got {type(frame).__name__}: {error}"
        ) from None
    return Sheet("the table", _plain(table, "the table"))


def _text(path: Path, head: bytes, texts: Collection[str]) -> Sheet:
    delimiter = _delimiter(head.decode("utf-8-sig", "replace"))
    begins, header = next(_records(path, delimiter))
    names = [name.strip() for name in header]
    if any("\N{REPLACEMENT CHARACTER}" in name for name in names):
        raise TableError(f"{path}: {_cause(path, delimiter, len(names))}; {EXPECTED}")
    _once([name for name in names if name], str(path))
    kept = [name or f"\0{place}" for place, name in enumerate(names)]  # Arrow wants a name for each

    def read(point: str) -> pa.Table:
        return pacsv.read_csv(
            str(path),
            pacsv.ReadOptions(column_names=kept, skip_rows=begins - 1, skip_rows_after_names=1),
            pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            pacsv.ConvertOptions(
                null_values=MISSING,
                column_types={name: pa.string() for name in texts},
                decimal_point=point,
            ),
        )

    try:
        table = read(".")
        if delimiter != "," and any(_decimal_commas(column) for column in table.columns):
            table = read(",")
    except pa.ArrowException as error:
        raise TableError(f"{path}: {_cause(path, delimiter, len(names)) or error}; {EXPECTED}") from None
    if any(pa.types.is_binary(column.type) for column in table.columns):
        raise TableError(f"{path}: {_cause(path, delimiter, len(names))}; {EXPECTED}")
    return Sheet(str(path), _plain(table.select([n for n in names if n]), str(path)), path, delimiter)


def _delimiter(text: str) -> str:
    r"""What stands most often between the cells of the header, outside of quotes.

    >>> _delimiter('\n"accuracy, %";lr\n1;2'), _delimiter("a"), _delimiter("a\tb,c\td")
    (';', ',', '\t')
    """
    header = re.sub(r'"[^"]*"', "", text.lstrip()).partition("\n")[0]
    return max((",", ";", "\t"), key=header.count)


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each record of a text file, blank lines left out, with the line that it begins in."""
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        begins = 1
        for record in reader:
            if record:
                yield begins, record
            begins = reader.line_num + 1


def _cause(path: Path, delimiter: str, width: int) -> str:
    """What is wrong with a text file that Arrow cannot read."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f"line {number} is not UTF-8: {line[error.start :][:8]!r}"
    for number, record in _records(path, delimiter):
        if len(record) != width:
            quote = " (is a quotation mark there not closed?)" if any("\n" in cell for cell in record) else ""
            return f"line {number} has {len(record)} cells, the header {width}{quote}"
    return ""


def _decimal_commas(column: pa.ChunkedArray) -> bool:
    if not pa.types.is_string(column.type):
        return False
    said = column.filter(pc.not_equal(column, ""))
    return len(said) > 0 and bool(pc.all(pc.match_substring_regex(said, DECIMAL_COMMA)).as_py())


def _plain(table: pa.Table, name: str) -> pa.Table:
    """Columns of few types: numbers, whole numbers, truths, texts, and what is none of them as it is."""
    _once(table.column_names, name)
    named = {
        column: _column(table.column(column))
        for column in table.column_names
        if not PANDAS_INDEX.fullmatch(column)
    }
    if not named or table.num_rows == 0:
        raise TableError(f"{name}: there are no {'rows' if named else 'columns'}; {EXPECTED}")
    return pa.table(named)


def _column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        column = column.cast(pa.string())
        return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind) or kind == pa.uint64():
        return column.cast(pa.float64())
    if pa.types.is_integer(kind):
        return column.cast(pa.int64())
    if pa.types.is_temporal(kind):
        return column.cast(pa.string())
    return column


def _once(names: Sequence[str], where: str) -> None:
    for name in names:
        if names.count(name) > 1:
            places = ", ".join(str(i) for i, other in enumerate(names, 1) if other == name)
            raise TableError(
                f"{where}: {names.count(name)} columns ({places}) are called {name!r}; rename them"
            )


def _shown(value: Any) -> str:
    return "empty" if value is None else repr(value)
