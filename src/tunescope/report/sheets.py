"""The numbers behind a chart, for spreadsheets."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunescope.report.columns import rows
from tunescope.results.tablefile import inert


def sheets(spec: Mapping[str, Any]) -> list[str]:
    r"""What a chart draws, as CSV that no spreadsheet executes: one sheet for each set of columns.

    >>> sheets({"layer": [{"data": {"values": [{"run": "=1+1", "value": 0.5}]}}]})
    ["run,value\n'=1+1,0.5\n"]
    """
    tables: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    seen: set[str] = set()
    for records in _drawn_from(spec):
        text = json.dumps(records)
        if records and text not in seen:  # layers of one chart draw the same records
            seen.add(text)
            columns = tuple(dict.fromkeys(column for record in records for column in record))
            tables.setdefault(columns, []).extend(row for record in records for row in rows(record))
    longest_first = sorted(tables.items(), key=lambda sheet: -len(sheet[1]))
    return [_csv(columns, records) for columns, records in longest_first]


def _drawn_from(node: Any) -> Iterator[list[Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        data = node.get("data")
        if isinstance(data, Mapping) and isinstance(data.get("values"), list):
            yield data["values"]
        for part in ("layer", "concat", "hconcat", "vconcat"):
            for child in node.get(part, ()):
                yield from _drawn_from(child)
        if "spec" in node:
            yield from _drawn_from(node["spec"])


def _csv(columns: Sequence[str], records: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([inert(column) for column in columns])
    for record in records:
        cells = (record.get(column) for column in columns)
        writer.writerow([inert(cell) if isinstance(cell, str) else cell for cell in cells])
    return stream.getvalue()
