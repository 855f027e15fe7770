"""The records that a chart draws, however they were folded, and the rows of a table they are made of."""

from typing import Any

from tunescope.report import columns
from tunescope.results.table import Table


def records(node: Any) -> list[list[dict[str, Any]]]:
    """Every list of values in a chart's document, from the outside in."""
    document = node if isinstance(node, dict) else node.to_dict()
    data = document.get("data") or {}
    values = data.get("values")
    own = [] if values is None else [[dict(row) for record in values for row in columns.rows(record)]]
    parts = (
        document.get("vconcat", [])
        + document.get("hconcat", [])
        + document.get("layer", [])
        + ([document["spec"]] if "spec" in document else [])
    )
    return own + [found for part in parts for found in records(part)]


def rows(table: Table, metric: str, **where: object) -> list[dict[str, Any]]:
    """The rows of a metric whose columns have these values."""
    return [
        row
        for row in table.rows.to_pylist()
        if row["metric"] == metric and all(row[key] == value for key, value in where.items())
    ]
