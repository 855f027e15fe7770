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

    Where several panels with titles have data of their own, `panel` says whose a row is.

    >>> sheets({"layer": [{"data": {"values": [{"run": "=1+1", "value": 0.5}]}}]})
    ["run,value\n'=1+1,0.5\n"]
    """
    tables: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    seen: set[str] = set()
    for panel, records in _drawn_from(spec, ""):
        text = json.dumps(records)
        if records and text not in seen:  # layers of one chart draw the same records
            seen.add(text)
            named = [{"panel": panel, **record} for record in records] if panel else records
            columns = tuple(dict.fromkeys(column for record in named for column in record))
            tables.setdefault(columns, []).extend(row for record in named for row in rows(record))
    longest_first = sorted(tables.items(), key=lambda sheet: -len(sheet[1]))
    return [_csv(columns, records) for columns, records in longest_first]


def _drawn_from(node: Any, panel: str) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    if isinstance(node, Mapping):
        data = node.get("data")
        if isinstance(data, Mapping) and isinstance(data.get("values"), list):
            yield panel, data["values"]
        for child in node.get("layer", ()):
            yield from _drawn_from(child, panel)
        for part in ("concat", "hconcat", "vconcat"):
            for child in node.get(part, ()):
                title = child.get("title")
                yield from _drawn_from(child, title if isinstance(title, str) else panel)
        if "spec" in node:
            yield from _drawn_from(node["spec"], panel)


def _csv(columns: Sequence[str], records: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([inert(column) for column in columns])
    for record in records:
        cells = (record.get(column) for column in columns)
        writer.writerow([inert(cell) if isinstance(cell, str) else cell for cell in cells])
    return stream.getvalue()
