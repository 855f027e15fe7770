"""Records whose lists are columns: many numbers in little room, unfolded where they are drawn."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import altair as alt


def unfolded(records: Sequence[Mapping[str, Any]]) -> alt.Chart:
    """A chart with a record for each place in the records' lists; a short list is filled up with nothing."""
    names: list[str | alt.FieldName] = list(
        dict.fromkeys(k for r in records for k, v in r.items() if isinstance(v, list))
    )
    none: dict[str, Any] = {str(name): [] for name in names}
    return alt.Chart(alt.Data(values=[none | dict(record) for record in records])).transform_flatten(names)


def rows(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The records that a chart makes of one whose lists are columns.

    >>> list(rows({"run": "a", "step": [1, 2], "value": [0.5]}))
    [{'run': 'a', 'step': 1, 'value': 0.5}, {'run': 'a', 'step': 2, 'value': None}]
    """
    lists = {name: value for name, value in record.items() if isinstance(value, list)}
    if not lists:
        yield record
    for place in range(max(map(len, lists.values()), default=0)):
        yield {**record, **{name: v[place] if place < len(v) else None for name, v in lists.items()}}


def column(values: Iterable[float]) -> list[float | None]:
    """Numbers to three digits; None where there is none.

    >>> column([0.123456, math.nan])
    [0.123, None]
    """
    return [digits(value, 3) if math.isfinite(value) else None for value in values]


def digits(value: float, number: int = 4) -> float:
    """A number with as many digits.

    >>> digits(0.00123456)
    0.001235
    """
    return float(f"{value:.{number}g}")


def known(value: float | None) -> float | None:
    """A number with four digits, where there is one."""
    return None if value is None else digits(value)
