"""Effective robustness: accuracy under the shifts against accuracy at home, both on logit axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.report import frames, theme
from tunescope.report.choice import choices
from tunescope.report.columns import column, digits, unfolded
from tunescope.report.landscape_numbers import (
    SHIFT,
    STAR,
    Number,
    Place,
    means,
    numbers,
    of_metric,
    read_on,
    setting,
    settings,
    with_mean,
)

if TYPE_CHECKING:
    from tunescope.results.table import Table

SETTINGS_AT_MOST = 24  # whose paths are drawn; every run has its dot
HOME = "test"
EDGE = 0.002  # accuracies beyond it stand on it: the logit of 0 and of 1 is nowhere
TICKS = (
    *(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5),
    *(0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998),
)

Points = dict[Place, tuple[float, float]]  # accuracy at home, and under the shift


@dataclass(frozen=True)
class _Axis:
    """One axis: from, to, on the logit scale, and where its ticks are."""

    low: float
    high: float

    @property
    def ticks(self) -> list[float]:
        for step in (None, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001):
            shares = TICKS if step is None else [i * step for i in range(1, round(1 / step))]
            found = [place for share in shares if self.low <= (place := logit(share)) <= self.high]
            if len(found) > 2:
                return found
        return [self.low, self.high]

    def of(self, field: str, title: str) -> dict[str, Any]:
        """The settings of the axis in a chart."""
        return {
            "shorthand": f"{field}:Q",
            "title": title,
            "scale": alt.Scale(domain=[self.low, self.high], nice=False),
            "axis": alt.Axis(
                values=self.ticks,
                grid=True,
                labelOverlap="greedy",
                labelSeparation=6,
                labelExpr="format(1 / (1 + exp(-datum.value)), '.3~%')",
            ),
        }


def logit(share: float) -> float:
    """Log p / (1 − p), of shares within `EDGE` and 1 − `EDGE`.

    >>> logit(0.5), round(logit(0.9), 3), logit(1.0) == logit(0.999)
    (0.0, 2.197, True)
    """
    inside = min(max(share, EDGE), 1 - EDGE)
    return math.log(inside / (1 - inside))


def robustness(table: "Table") -> list[theme.Layers]:
    """A dot for each run, tuned; a line for each setting, from the base to the tuned model."""
    walked = with_mean(numbers(table, "path_acc1", ("split", "point")))
    tuned = [_at(number) for number in walked if number.place[1] == 1.0]
    there = {number.run.name for number in tuned}
    direct = with_mean(of_metric(table, "transfer.acc1", ("split",)))
    dots = _dots([*tuned, *(number for number in direct if number.run.name not in there)])
    if not tuned or not dots:
        return []
    lines = _lines(table, walked)
    stars = _stars(table)
    return [_chart(dots, lines, stars, frames.groups(table))]


def _at(number: Number) -> Number:
    return replace(number, place=number.place[:1])


def _pairs(values: dict[Place, float]) -> Points:
    """By place, whose last is a shift: what is known at home and under the shift."""
    return {
        place: (values[home], away)
        for place, away in values.items()
        if place[-1].startswith(SHIFT) and (home := (*place[:-1], HOME)) in values
    }


def _dots(found: Sequence[Number]) -> list[dict[str, Any]]:
    values = means(found, lambda number: (number.run.group, number.part, number.run.name, number.place[0]))
    cells: dict[Place, list[tuple[str, float, float]]] = {}
    for (group, part, run, split), (x, y) in _pairs(values).items():
        cells.setdefault((group, part, split), []).append((run, x, y))
    records = [
        {
            "group": group,
            "part": part,
            "data": read_on(split),
            "run": [run for run, _, _ in own],
            "home": column(x for _, x, _ in own),
            "away": column(y for *_, y in own),
        }
        for (group, part, split), own in cells.items()
    ]
    return sorted(records, key=lambda record: record["data"] != read_on("shift:mean"))  # stable


def _lines(table: "Table", walked: Sequence[Number]) -> list[dict[str, Any]]:
    shown = settings(table, SETTINGS_AT_MOST)
    values = means(walked, lambda n: (n.run.setting, n.part, n.place[1], n.place[0]))
    curves: dict[Place, list[tuple[float, float, float]]] = {}
    for (name, part, alpha, split), (x, y) in _pairs(values).items():
        if name in shown:
            curves.setdefault((name, part, split), []).append((alpha, x, y))
    return [
        {
            "setting": name,
            "group": shown[name],
            "part": part,
            "data": read_on(split),
            "alpha": [digits(alpha) for alpha, _, _ in points],
            "home": column(x for _, x, _ in points),
            "away": column(y for *_, y in points),
        }
        for (name, part, split), curve in curves.items()
        for points in [_thin(sorted(curve))]
    ]


def _thin(curve: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """About ten points from end to end."""
    step = max(1, round((len(curve) - 1) / 10))
    return [*curve[:-1:step], curve[-1]]


def _firsts(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where paths begin: settings mostly share one base, and so one place."""
    found = {
        (line["data"], line["part"], line["home"][0], line["away"][0]): None
        for line in lines
        if line["alpha"][0] == 0
    }
    names = ("data", "part", "home", "away")
    return [dict(zip(names, place, strict=True)) | {"setting": "before tuning"} for place in found]


def _stars(table: "Table") -> list[dict[str, Any]]:
    """What the α chosen on validation gives, mean over the runs of a setting."""
    shown = settings(table, SETTINGS_AT_MOST)
    values = means(numbers(table, "best_acc1", ("split",)), setting)
    return [
        {
            "setting": name,
            "group": shown[name],
            "part": part,
            "data": read_on(split),
            "home": digits(x),
            "away": digits(y),
        }
        for (name, part, split), (x, y) in _pairs(values).items()
        if name in shown
    ]


def _chart(
    dots: list[dict[str, Any]], lines: list[dict[str, Any]], stars: list[dict[str, Any]], groups: list[str]
) -> theme.Layers:
    params, narrowed = choices(dots, "data", "part")
    across, up = (_reach([*dots, *lines], field) for field in ("home", "away"))
    x = alt.X(**across.of("x", "test accuracy, in distribution (logit scale)"))
    y = alt.Y(**up.of("y", "accuracy under the shift (logit scale)"))
    drawn = [record["group"] for record in dots]
    legend = alt.Legend(symbolOpacity=1)
    inside = f"clamp(datum.{{}}, {EDGE}, {1 - EDGE})"
    place = f"log({inside} / (1 - {inside}))"

    def told(chart: alt.Chart, *first: alt.Tooltip) -> alt.Chart:
        chart = chart.transform_calculate(x=place.format("home", "home"), y=place.format("away", "away"))
        both = (
            alt.Tooltip("home:Q", title="in distribution", format=".1%"),
            alt.Tooltip("away:Q", title="under the shift", format=".1%"),
        )
        return chart.encode(
            x=x, y=y, color=theme.colour(groups, drawn, legend=legend), tooltip=[*first, *both]
        )

    layers: list[alt.Chart] = []
    low, high = max(across.low, up.low), min(across.high, up.high)
    if low < high:
        ends = [{"x": end, "y": end} for end in (low, high)]  # logits
        same = alt.Chart(alt.Data(values=ends)).mark_line(strokeDash=[4, 4], color=theme.REFERENCE)
        layers.append(same.encode(x=x, y=y))
    if lines:
        path = unfolded(lines).transform_filter(narrowed)
        named = (alt.Tooltip("setting:N"), alt.Tooltip("alpha:Q", title="α", format=".3~g"))
        layers.append(
            told(path.mark_line(strokeWidth=1.2, opacity=0.7), *named).encode(
                detail=alt.Detail("setting:N"), order=alt.Order("alpha:Q")
            )
        )
    if firsts := _firsts(lines):
        base = alt.Chart(alt.Data(values=firsts)).transform_filter(narrowed)
        base = base.mark_point(size=70, strokeWidth=2, opacity=1)
        layers.append(told(base, alt.Tooltip("setting:N")).encode(color=alt.value(theme.REFERENCE)))
    runs = unfolded(dots).transform_filter(narrowed).mark_point(filled=True, size=42, opacity=0.85)
    layers.append(told(runs, alt.Tooltip("run:N")).encode(shape=theme.shape(groups, drawn)))
    if stars:
        best = alt.Chart(alt.Data(values=stars)).transform_filter(narrowed)
        best = best.mark_point(shape=STAR, size=130, filled=True, opacity=1)
        layers.append(told(best, alt.Tooltip("setting:N")))
    return alt.layer(
        *layers,
        width="container",
        height=400,
        description="Scatter of runs on logit axes: accuracy in distribution against accuracy under a shift.",
    ).add_params(*params)


def _reach(records: Sequence[dict[str, Any]], field: str) -> _Axis:
    values = [logit(share) for record in records for share in record[field]]
    room = 0.06 * (max(values) - min(values)) or 0.1
    return _Axis(round(min(values) - room, 3), round(max(values) + room, 3))
