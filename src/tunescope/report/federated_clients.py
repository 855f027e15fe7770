"""Each client round by round: a panel for each, a line for each way of tuning."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.report import frames, theme
from tunescope.report.choice import select
from tunescope.report.columns import digits, unfolded
from tunescope.report.federated_numbers import OF_CLIENT, Curve, federated, largest, series
from tunescope.report.titles import title
from tunescope.results.metric import FEDERATED, declared

if TYPE_CHECKING:
    from tunescope.results.table import Table

CLIENTS_AT_MOST = 12
ROUNDS_AT_MOST = (40, 20, 10)  # of a line; the first that fits
NUMBERS_AT_MOST = 9000
_SEEN = ("attention.entropy", "attention.gini", "attention.erf95", "attention.head_diversity")
_SEEN += ("representation.cka", "representation.effective_rank", "transfer.acc1")
WATCHED = tuple(f"{name}{OF_CLIENT}" for name in _SEEN)  # of a client's own model
COLUMNS = 4
_WIDE, _HIGH = 165, 120

Key = tuple[str, str, str]  # group, run or setting, client


def quantities(table: "Table") -> dict[str, str]:
    """What is known of clients by round: metric → words. What clients say, then what is seen of them."""
    there = set(table.metrics())
    own = [metric.name for metric in FEDERATED if set(metric.dims) == {"component", "step"}]
    own.sort(key=lambda name: name != "federated.loss")
    known = declared()
    units = {name: known[name].unit for name in (*own, *WATCHED) if name in there}
    return {name: title(name) + ("" if unit == "1" else f", {unit}") for name, unit in units.items()}


def clients(table: "Table") -> list[alt.ConcatChart]:
    """One chart, in which a reader chooses the quantity."""
    runs = federated(table)
    metrics = quantities(table) if runs else {}
    shown, _ = largest(table, runs, CLIENTS_AT_MOST)
    lines: dict[Key, dict[str, list[Curve]]] = {}
    for metric in metrics:
        for one in series(table, runs, metric, by_client=True):
            if one.client in shown:
                key = (one.run.group, one.run.name, one.client)
                lines.setdefault(key, {}).setdefault(metric, []).append(one.curve)
    settings = {run.name: run.setting for run in runs}
    found = _fitted(lines, settings, metrics)
    if not found:
        return []
    return [_chart(frames.groups(table), found, list(metrics.values()), shown)]


def _fitted(
    lines: Mapping[Key, Mapping[str, list[Curve]]], settings: Mapping[str, str], metrics: Mapping[str, str]
) -> list[dict[str, Any]]:
    """A record for each run and client; of more numbers than there is room for, for each setting."""
    merged: dict[Key, dict[str, list[Curve]]] = {}
    for (group, run, client), own in lines.items():
        cell = merged.setdefault((group, settings[run], client), {})
        for metric, curves in own.items():
            cell.setdefault(metric, []).extend(curves)
    last: list[dict[str, Any]] = []
    for column, found in (("run", lines), ("setting", merged)):
        for most in ROUNDS_AT_MOST:
            last = [_record(key, column, own, metrics, most) for key, own in found.items()]
            if sum(len(record["round"]) * (1 + len(metrics)) for record in last) <= NUMBERS_AT_MOST:
                return last
    return last


def _record(
    key: Key, column: str, own: Mapping[str, list[Curve]], metrics: Mapping[str, str], most: int
) -> dict[str, Any]:
    group, line, client = key
    rounds = sorted({number for curves in own.values() for curve in curves for number in curve})
    size = max(1, -(-(len(rounds) - 1) // (most - 1)))
    rounds = [*rounds[:-1:size], rounds[-1]]

    def at(metric: str, number: int) -> float | None:
        known = [curve[number] for curve in own.get(metric, ()) if number in curve]
        return digits(frames.mean(known)) if known else None

    values = {words: [at(metric, number) for number in rounds] for metric, words in metrics.items()}
    return {"group": group, column: line, "line": line, "client": client, "round": rounds} | values


def _chart(
    groups: Sequence[str], records: list[dict[str, Any]], quantities: Sequence[str], shown: Sequence[str]
) -> alt.ConcatChart:
    last = max(record["round"][-1] for record in records)
    colour = theme.colour(groups, [record["group"] for record in records], legend=alt.Legend(symbolOpacity=1))
    panels = [
        _panel(own, client, colour, last)
        for client in shown
        if (own := [record for record in records if record["client"] == client])
    ]
    chart = alt.concat(*panels, columns=COLUMNS, spacing=20).resolve_scale(y="shared")
    chart = chart.properties(
        description="Each client by round: a panel for each client, a line for each run, and the mean of "
        "each group."
    )
    return chart.add_params(select("quantity", quantities))


def _panel(records: list[dict[str, Any]], client: str, colour: alt.Color, last: int) -> theme.Layers:
    base = (
        unfolded(records)
        .transform_calculate(value="datum[quantity]")
        .transform_filter("isValid(datum.value)")
        .encode(
            x=alt.X(
                "round:Q",
                axis=alt.Axis(tickMinStep=1, tickCount=4, format="d"),
                scale=alt.Scale(domain=[1, max(2, last)], nice=False, padding=8),
            ),
            color=colour,
        )
    )
    axis = alt.Axis(format=".3~g", tickCount=4, minExtent=36)  # for the longest number of any choice
    y = alt.Y("value:Q", title=None, axis=axis, scale=alt.Scale(zero=False))
    told = [alt.Tooltip("line:N", title="of"), alt.Tooltip("round:Q"), alt.Tooltip("value:Q", format=".3~g")]
    return alt.layer(
        base.mark_line(strokeWidth=1, opacity=0.45).encode(y=y, detail=alt.Detail("line:N")),
        base.mark_point(size=14, filled=True, opacity=0.5).encode(y=y, tooltip=told),
        base.mark_line(strokeWidth=2.2).encode(y=alt.Y("mean(value):Q", title=None)),
        width=_WIDE,
        height=_HIGH,
        title=alt.TitleParams(client, limit=_WIDE),
    )
