"""Lines by layer: means with their intervals, the runs that they are of, and names where colours run out."""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from tunescope.report import theme
from tunescope.report.columns import digits, unfolded
from tunescope.report.measures import Measure

WIDTH, HEIGHT = 620, 330
NAME = 13  # pixels that a name at the end of a line takes
HALF = ", ±"  # after a measure's name: half the width of its interval
TICKS = 12
LARGE = 1e300  # no bound
STANDS_OUT = "(datum.group === first || datum.group === second)"


def crowded(means: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there are more lines than colours, so that two groups alone can stand out from the others."""
    return len({record["line"] for record in means}) > len(theme.COLOURS)


def drawn(
    groups: Sequence[str],
    measures: Sequence[Measure],
    means: list[dict[str, Any]],
    runs: list[dict[str, Any]],
    narrowed: str,
) -> theme.Layers:
    """The measure that is selected, by layer.

    Args:
        groups: every group of the study, in order, for their colours.
        measures: what can be selected.
        means: a record for each line: layers, and for each measure its means and the ends of its intervals.
        runs: the same of single runs.
        narrowed: the condition that a record is of what is selected.
    """
    among = [record["group"] for record in means]
    many = crowded(means)
    legend = None if many else alt.Legend(symbolOpacity=1)
    own = theme.colour(groups, among, legend)
    colour = alt.condition(STANDS_OUT, own, alt.value(theme.REFERENCE)) if many else own
    opacity, width = (
        alt.condition(STANDS_OUT, alt.value(most), alt.value(least)) if many else alt.value(most)
        for most, least in ((1, 0.4), (2.2, 1.2))
    )
    only = STANDS_OUT if many else "true"
    still = {measure.name: measure.still for measure in measures}

    def of(records: list[dict[str, Any]]) -> alt.Chart:
        return unfolded(records).transform_filter(narrowed).encode(x=across(means[0]["layer"]), color=colour)

    y = alt.Y("value:Q", title=None, axis=alt.Axis(format=".3~g", tickCount=6), scale=alt.Scale(zero=False))
    told = [alt.Tooltip("layer:Q"), alt.Tooltip("value:Q", format=".3~g")]
    rule = alt.Chart(alt.Data(values=[{"still": name, "value": value} for name, value in still.items()]))
    rule = rule.transform_filter("datum.still === measure").mark_rule(
        strokeDash=[4, 4], color=theme.REFERENCE
    )
    by_line = of(means).transform_calculate(value="datum[measure]").encode(detail=alt.Detail("line:N"))
    by_line = by_line.transform_filter("isValid(datum.value)")
    # what is not drawn has no width, not no record: a layer without records would have no scale
    half = f"(isValid(datum[measure + '{HALF}']) && {only} ? datum[measure + '{HALF}'] : 0)"
    band = by_line.transform_calculate(
        low=f"{half} ? max(datum.value - {half}, {_bounds(measures, 0)}) : datum.value",
        high=f"{half} ? min(datum.value + {half}, {_bounds(measures, 1)}) : datum.value",
    )
    band = band.mark_area(opacity=0.14).encode(y=alt.Y("low:Q", title=None), y2="high:Q")
    line = by_line.mark_line(point=alt.OverlayMarkDef(size=34, filled=True)).encode(
        y=y, opacity=opacity, strokeWidth=width, tooltip=[alt.Tooltip("line:N"), *told, alt.Tooltip("runs:Q")]
    )
    layers: list[alt.Chart | theme.Layers] = [rule.encode(y=y)]
    if runs:
        there = "isValid(datum[measure])"
        thin = of(runs).transform_calculate(
            value=f"{there} ? datum[measure] : {json.dumps(still)}[measure]", shown=f"{there} && {only}"
        )
        thin = thin.mark_line(opacity=0.4).encode(
            y=y,
            detail=[alt.Detail("run:N"), alt.Detail("shown:N")],
            strokeWidth=alt.condition("datum.shown", alt.value(0.9), alt.value(0)),
            tooltip=[alt.Tooltip("run:N"), *told],
        )
        layers.append(thin)
    layers.append(alt.layer(band, line))  # of the same records, which stand in the document once
    if many or len({record["line"] for record in means}) > len(set(among)):
        names = unfolded(_ends(means, [measure.name for measure in measures]))
        names = names.transform_filter(narrowed).transform_calculate(value="datum[measure]")
        text = names.mark_text(align="left", dx=9, fontSize=10)
        layers.append(text.encode(x=alt.value(WIDTH), y=y, text="line:N", color=colour))
    return alt.layer(*layers, width=WIDTH, height=HEIGHT)


def across(layers: Sequence[int]) -> alt.X:
    """The layers as an axis, about twelve of them with their numbers."""
    ticks = alt.Axis(values=list(layers[:: -(-len(layers) // TICKS)]), format="d")
    return alt.X("layer:Q", title="layer", axis=ticks, scale=alt.Scale(zero=False, nice=False, padding=12))


def _bounds(measures: Sequence[Measure], side: int) -> str:
    """The smallest, or largest, value that the selected measure can have, as an expression."""
    ends = {measure.name: max(-LARGE, min(LARGE, measure.within[side])) for measure in measures}
    return f"{json.dumps(ends)}[measure]"


def _ends(means: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Where each line's name stands: at the height of its last layer, or next to it where that is taken."""
    views: dict[tuple[str, str, bool], list[Mapping[str, Any]]] = {}
    for record in means:
        if record["best"]:
            views.setdefault((record["data"], "", True), []).append(record)
        if record["lr"]:
            views.setdefault((record["data"], record["lr"], False), []).append(record)
    if all(record["best"] for record in means):  # then there is no other view
        views = {view: records for view, records in views.items() if view[2]}
    return [
        {
            "line": [record["line"] for record in records],
            "group": [record["group"] for record in records],
            "data": data,
            "lr": rate,
            "best": chosen,
        }
        | {name: spread([record[name][-1] for record in records], _reach(records, name)) for name in names}
        for (data, rate, chosen), records in views.items()
    ]


def _reach(records: Sequence[Mapping[str, Any]], name: str) -> float:
    """The height of a name, in the measure's unit."""
    ends = [
        value + side * (half or 0.0)
        for record in records
        for value, half in itertools.zip_longest(record[name], record.get(f"{name}{HALF}", []))
        if value is not None
        for side in (-1, 1)
    ]
    return NAME / HEIGHT * (max(ends) - min(ends)) if ends else 0.0


def spread(values: Sequence[float | None], apart: float) -> list[float | None]:
    """Places next to the values that are at least so far apart, in the same order.

    >>> [round(place, 2) for place in spread([1.0, 0.0, 1.02], 0.5)]
    [0.76, 0.0, 1.26]
    """
    order = sorted((value, place) for place, value in enumerate(values) if value is not None)
    blocks: list[tuple[float, list[int]]] = []  # middle, and who stands there
    for value, place in order:
        middle, members = value, [place]
        while blocks and middle - blocks[-1][0] < apart * (len(members) + len(blocks[-1][1])) / 2:
            before, others = blocks.pop()
            middle = (before * len(others) + middle * len(members)) / (len(others) + len(members))
            members = [*others, *members]
        blocks.append((middle, members))
    places: list[float | None] = [None] * len(values)
    for middle, members in blocks:
        for rank, place in enumerate(members):
            places[place] = digits(middle + apart * (rank - (len(members) - 1) / 2))
    return places
