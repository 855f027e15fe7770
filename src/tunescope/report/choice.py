"""What the reader of the page chooses: a select above a chart, and the records that it lets through."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt


def select(
    name: str, options: Sequence[str], labels: Sequence[str] | None = None, start: str | None = None
) -> Any:
    """A choice among texts; `start`, or the first one, is drawn at first.

    Args:
        name: what is chosen; the chart's expressions know the choice by it.
        options: what there is.
        labels: how the page calls them, where that differs.
        start: one of the options.
    """
    bind = alt.binding_select(options=list(options), labels=list(labels or options), name=f"{name} ")
    return alt.param(name=name, value=options[0] if start is None else start, bind=bind)


def choices(records: Sequence[Mapping[str, Any]], *names: str) -> tuple[list[Any], str]:
    """A select for each column that has several values, and the condition that a record is of the choice.

    >>> params, narrowed = choices([{"run": "a", "part": "x"}, {"run": "b", "part": "x"}], "run", "part")
    >>> [param.name for param in params], narrowed
    (['run'], "datum['run'] === run")
    """
    params = [
        select(name, options)
        for name in names
        if len(options := list(dict.fromkeys(record[name] for record in records))) > 1
    ]
    return params, " && ".join(f"datum['{param.name}'] === {param.name}" for param in params) or "true"
