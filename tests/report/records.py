"""The records that a chart draws, wherever Altair put them, and the rows of a table they are made of."""

from typing import Any

from tunescope.results.table import Table


def records(node: Any) -> list[list[dict[str, Any]]]:
    """Every list of values in a chart's document, from the outside in."""
    document = node if isinstance(node, dict) else node.to_dict()
    own = [document["data"]["values"]] if "values" in document.get("data", {}) else []
    parts = (
        document.get("vconcat", [])
        + document.get("hconcat", [])
        + document.get("layer", [])
        + ([document["spec"]] if "spec" in document else [])
    )
    return own + [found for part in parts for found in records(part)]


def rows(table: Table, metric: str, **where: str) -> list[dict[str, Any]]:
    """The rows of a metric whose columns have these values."""
    return [
        row
        for row in table.rows.to_pylist()
        if row["metric"] == metric and all(row[key] == value for key, value in where.items())
    ]
