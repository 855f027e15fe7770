"""The cells of a foreign table's columns as what they should be, or the lines that hold something else."""

# pyright: reportAttributeAccessIssue=false
# pyarrow makes its compute functions when it is imported
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tunescope.errors import TableError
from tunescope.results.sheet import Sheet

Codes = NDArray[np.int64]
NUMBER = r"(?i)^\s*[-+]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?|nan|inf|infinity)\s*$"


def codes(column: pa.ChunkedArray) -> Codes:
    """A whole number for each cell, the same for the same content; empty cells have one of their own.

    >>> codes(pa.chunked_array([["b", "a", None, "b"]])).tolist()
    [1, 2, 0, 1]
    """
    encoded = column.combine_chunks().dictionary_encode()
    return pc.fill_null(encoded.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False) + 1


def joined(columns: Sequence[Codes], rows: int) -> Codes:
    """One code for each row, the same where all columns are; numbered in the order of first appearance.

    >>> joined([np.array([5, 5, 4, 5]), np.array([1, 2, 1, 1])], 4).tolist()
    [0, 1, 2, 0]
    """
    found = np.zeros(rows, np.int64)
    for column in columns:
        together = found * (int(column.max(initial=0)) + 1) + column
        found = np.unique(together, return_inverse=True)[1].astype(np.int64)
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def numbers(sheet: Sheet, column: str) -> pa.Array:
    """A column as numbers, of which some may be missing, and some not finite; true is 1.

    Raises:
        TableError: some cells are no numbers; the first lines are named.
    """
    cells = sheet.table.column(column).combine_chunks()
    if pa.types.is_string(cells.type):
        wrong = pc.invert(pc.match_substring_regex(cells, NUMBER))
        refuse(sheet, column, wrong, "expected numbers, or an empty cell where there is none")
        cells = pc.utf8_trim_whitespace(cells)
    elif pa.types.is_boolean(cells.type):
        cells = cells.cast(pa.int64())
    return cells.cast(pa.float64())


def whole(sheet: Sheet, column: str) -> pa.Array:
    """A column as whole numbers from 0 to 2³¹ − 1, of which some may be missing.

    Raises:
        TableError: some cells are something else; the first lines are named.
    """
    found = numbers(sheet, column)
    cells = found.to_numpy(zero_copy_only=False)
    fits = (cells >= 0) & (cells < 2**31) & (cells == np.floor(cells))
    wrong = ~fits & found.is_valid().to_numpy(zero_copy_only=False)
    refuse(sheet, column, pa.array(wrong), "expected whole numbers from 0")
    return found.cast(pa.int64())


def texts(sheet: Sheet, column: str) -> pa.Array:
    """A column as texts, of which some may be missing."""
    return sheet.table.column(column).combine_chunks().cast(pa.string())


def factor(sheet: Sheet, column: str) -> pa.Array:
    """A column as a factor of runs: of numbers, which are all finite, or of texts; true is 1.

    Raises:
        TableError: some numbers are not finite; the first lines are named.
    """
    cells = sheet.table.column(column).combine_chunks()
    if pa.types.is_boolean(cells.type):
        return cells.cast(pa.int64())
    if pa.types.is_floating(cells.type):
        refuse(
            sheet,
            column,
            pc.invert(pc.is_finite(cells)),
            "a factor's values are finite; empty = the run has none",
        )
    if pa.types.is_floating(cells.type) or pa.types.is_integer(cells.type):
        return cells
    return texts(sheet, column)


def given(sheet: Sheet, column: str, what: str) -> None:
    """Refuse empty cells in a column that must say something.

    Raises:
        TableError: with the first lines.
    """
    refuse(sheet, column, pc.is_null(sheet.table.column(column).combine_chunks()), f"every row needs {what}")


def refuse(sheet: Sheet, column: str, wrong: pa.Array, expected: str) -> None:
    """Refuse the cells that are marked.

    Raises:
        TableError: with the first lines.
    """
    rows = np.flatnonzero(pc.fill_null(wrong, False).to_numpy(zero_copy_only=False)).tolist()
    if rows:
        raise TableError(f"{sheet.name}: the column {column!r} holds {sheet.cells(column, rows)}; {expected}")
