"""A chart's records in little room: by columns, and what repeats in a column once. The page unpacks them."""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

PARTS = ("layer", "concat", "hconcat", "vconcat")


def packed(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A Vega-Lite document with `data.packed` in the place of the records of `data.values`.

    >>> name = "full lr=0.0001 seed=0"
    >>> packed({"data": {"values": [{"run": name, "x": 1}, {"run": name, "x": 2}]}})["data"]
    {'packed': [{'run': {'of': ['full lr=0.0001 seed=0'], 'at': [0, 0]}, 'x': [1, 2]}]}
    """
    own = dict(spec)
    data = spec.get("data")
    if isinstance(data, Mapping) and data.get("values"):
        rest = {name: value for name, value in data.items() if name != "values"}
        own["data"] = rest | {"packed": blocks(data["values"])}
    for part in PARTS:
        if part in spec:
            own[part] = [packed(child) for child in spec[part]]
    if "spec" in spec:
        own["spec"] = packed(spec["spec"])
    return own


def blocks(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Columns of neighbouring records that have the same keys, in the records' order."""
    return [
        {name: _column([record[name] for record in block]) for name in names}
        for names, neighbours in groupby(records, key=lambda record: tuple(record))
        for block in [list(neighbours)]
    ]


def _column(values: list[Any]) -> Any:
    """The values, or where that is shorter each distinct one (`of`) and who has it (`at`)."""
    texts = [json.dumps(value, separators=(",", ":"), ensure_ascii=False) for value in values]
    place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    plain = sum(map(len, texts)) + len(texts)
    by_place = sum(map(len, place)) + len(place) + sum(len(str(place[text])) + 1 for text in texts) + 18
    if by_place >= plain:
        return values
    first = {texts[i]: values[i] for i in reversed(range(len(values)))}
    return {"of": [first[text] for text in place], "at": [place[text] for text in texts]}
