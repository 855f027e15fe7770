"""The records that a chart draws, wherever Altair put them."""

from typing import Any


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
