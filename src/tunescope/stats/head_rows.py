"""The rows of the one table that speak of single attention heads, as arrays."""

import numpy as np
from numpy.typing import NDArray

from tunescope.errors import TableError
from tunescope.results.table import Table

Floats = NDArray[np.float64]
Cells = Floats  # [rows, 5]: layer, head, value, std, n

MOST = 1_000_000  # heads in one tower; a table that names more is broken

_FROM = """
    FROM (
        SELECT run, coalesce(tower, '') AS tower, coalesce(component, '') AS component,
            metric[7:] AS quantity, layer, head, split, step, value, std, n
        FROM rows
        WHERE starts_with(metric, 'heads.') AND layer >= 0 AND head >= 0 AND value IS NOT NULL
            AND point IS NULL
    )
"""


def head_rows(table: Table, keys: tuple[str, ...], condition: str) -> dict[tuple[str | int, ...], Cells]:
    """Rows of `heads.*` with a layer and a head, on no curve, by what `keys` names.

    Args:
        table: the one table.
        keys: of run, tower, component, quantity (the metric without its `heads.`) and step; a tower or
            component that is empty in the table is the empty text.
        condition: SQL on these columns; our own words only.

    Returns:
        by the values of the keys, in their order; each part's rows ordered by split, then by what they say,
        so that the order of the table's rows decides nothing.
    """
    listed = ", ".join(keys)
    cells = table.sql(
        f"SELECT layer, head, value, std, n {_FROM} WHERE {condition} "
        f"ORDER BY {listed}, split, value, std, n, layer, head"
    )
    parts = table.sql(
        f"SELECT {listed}, count(*) AS rows {_FROM} WHERE {condition} GROUP BY {listed} ORDER BY {listed}"
    ).to_pylist()
    together = np.stack([column.to_numpy() for column in cells.columns], 1).astype(np.float64)
    ends = np.cumsum([part["rows"] for part in parts])
    return {
        tuple(part[key] for key in keys): together[end - part["rows"] : end]
        for part, end in zip(parts, ends, strict=True)
    }


def shape_of(parts: list[Cells], name: str) -> tuple[int, int]:
    """Layers and heads of the model that all these rows speak of.

    Args:
        parts: at least one row.
        name: of the run, for the message.

    Raises:
        TableError: a layer or a head that no model has.
    """
    last = np.max([rows[:, :2].max(0) for rows in parts], 0)
    layers, heads = int(last[0]) + 1, int(last[1]) + 1
    if layers * heads > MOST:
        raise TableError(
            f"rows: run {name!r} has a head {heads - 1} and a layer {layers - 1}; expected both counted from "
            "0 within one model"
        )
    return layers, heads


def placed(rows: Cells, values: Floats, shape: tuple[int, int]) -> Floats:
    """Values at their layers and heads, not a number elsewhere; of several for one head the first stays.

    >>> placed(np.array([[0.0, 1, 5, 0, 0], [0.0, 1, 6, 0, 0]]), np.array([5.0, 6.0]), (1, 2)).tolist()
    [[nan, 5.0]]
    """
    found = np.full((*shape, *values.shape[1:]), np.nan)
    found[rows[::-1, 0].astype(int), rows[::-1, 1].astype(int)] = values[::-1]
    return found
