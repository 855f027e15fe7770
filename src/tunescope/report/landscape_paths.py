"""Accuracy and loss on the way from the base to the tuned weights, at home and away from it."""

import json
from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.report import charts, frames, theme
from tunescope.report.choice import select
from tunescope.report.columns import column, digits
from tunescope.report.landscape_numbers import (
    STAR,
    Place,
    means,
    numbers,
    read_on,
    setting,
    settings,
    together,
    with_mean,
)
from tunescope.report.quality import PERCENT

if TYPE_CHECKING:
    from tunescope.results.table import Table

SETTINGS_AT_MOST = 24
HOME = ("test", "val")  # in distribution: the first that was read
_WIDTH, _HEIGHT = 330, 260
_TITLES = ("in distribution", "out of distribution")


def paths(table: "Table") -> list[alt.HConcatChart]:
    """Accuracy along the path, then loss: on the left in distribution, on the right what is selected."""
    drawn = (
        _both(table, "acc1", "accuracy", PERCENT, ".1%"),
        _both(table, "loss", "loss", ".3~g", ".3~g"),
    )
    return [chart for chart in drawn if chart is not None]


def _both(table: "Table", metric: str, name: str, axis: str, form: str) -> alt.HConcatChart | None:
    records = curves(table, metric)
    home = next((split for split in HOME if any(record["split"] == split for record in records)), None)
    if home is None:
        return None
    away = [record for record in records if record["split"] not in HOME]
    params, conditions = _choices(records, away, home)
    stars = best(table, metric)
    sides = ({home}, {record["split"] for record in away})
    panels = [
        _panel(
            [record for record in records if record["split"] in side],
            [star for star in stars if star["split"] in side],
            title,
            condition,
            alt.Y("value:Q", title=name if side == {home} else None, scale=alt.Scale(zero=False, padding=8)),
            (axis, form, name),
            frames.groups(table),
        )
        for side, title, condition in zip(sides, _TITLES, conditions, strict=True)
        if side
    ]
    chart = alt.hconcat(*panels, spacing=26).resolve_scale(y="shared")
    described = chart.properties(
        description=f"{name.capitalize()} by α between the base and the tuned model, a line for each setting."
    )
    return described.add_params(*params)


def _choices(
    records: list[dict[str, Any]], away: list[dict[str, Any]], home: str
) -> tuple[list[Any], list[str]]:
    """One select: what is read away, and under which head; at home, the same head."""
    parts = list(dict.fromkeys(record["part"] for record in records))
    pairs = list(dict.fromkeys((record["part"], record["split"]) for record in away))
    pairs = pairs or [(part, home) for part in parts]
    keys = [f"{part}: {split}" for part, split in pairs]
    told = [
        ", ".join([*([read_on(split)] if away else []), *([part] if len(parts) > 1 else [])])
        for part, split in pairs
    ]
    if len(keys) == 1:
        at_home, shown = json.dumps(pairs[0][0]), json.dumps(pairs[0][1])
        return [], [f"datum.part === {at_home}", f"datum.part === {at_home} && datum.split === {shown}"]
    where = {key: list(pair) for key, pair in zip(keys, pairs, strict=True)}
    params = [
        select("shown", keys, told),
        alt.param(name="where", expr=f"{json.dumps(where)}[shown]"),
    ]
    return params, ["datum.part === where[0]", "datum.part === where[0] && datum.split === where[1]"]


def curves(table: "Table", metric: str) -> list[dict[str, Any]]:
    """A record for each setting, part and split: α, the mean over runs, and how many these are."""
    shown = settings(table, SETTINGS_AT_MOST)
    places = charts.rate_places(table)
    found: dict[Place, dict[float, list[float]]] = {}
    read = with_mean(numbers(table, f"path_{metric}", ("split", "point")))
    for (name, part, split, point), values in together(read, setting).items():
        if name in shown:
            found.setdefault((name, part, split), {})[point] = values
    rates = {run.setting: places[run.lr] for run in frames.done(table)}
    return [
        {
            "setting": name,
            "group": shown[name],
            "rank": round(rates[name], 2),
            "part": part,
            "split": split,
            "alpha": [digits(point) for point in sorted(curve)],
            "value": column(frames.mean(curve[point]) for point in sorted(curve)),
            "runs": max(map(len, curve.values())),
        }
        for (name, part, split), curve in found.items()
    ]


def best(table: "Table", metric: str) -> list[dict[str, Any]]:
    """The mean α chosen on validation and the mean of what it gives, by setting, part and split."""
    shown = settings(table, SETTINGS_AT_MOST)
    chosen = means(numbers(table, "best_alpha"), setting)
    read = means(with_mean(numbers(table, f"best_{metric}", ("split",))), setting)
    return [
        {
            "setting": name,
            "group": shown[name],
            "part": part,
            "split": split,
            "alpha": digits(chosen[name, part], 3),
            "value": digits(value, 3),
        }
        for (name, part, split), value in read.items()
        if name in shown and (name, part) in chosen
    ]


def _panel(
    records: list[dict[str, Any]],
    stars: list[dict[str, Any]],
    title: str,
    condition: str,
    y: alt.Y,
    said: tuple[str, str, str],
    groups: list[str],
) -> theme.Layers:
    axis, form, name = said
    y = y.axis(alt.Axis(format=axis, tickCount=5))
    x = alt.X(
        "alpha:Q",
        title="α: 0 before tuning, 1 as tuned",
        axis=alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], format=".2~f"),
        scale=alt.Scale(domain=[0, 1], nice=False, padding=8),
    )
    legend = alt.Legend(symbolOpacity=1, symbolType="stroke")
    told = [
        alt.Tooltip("setting:N"),
        alt.Tooltip("alpha:Q", title="α", format=".3~g"),
        alt.Tooltip("value:Q", title=name, format=form),
    ]
    drawn = [record["group"] for record in records]
    base = alt.Chart().transform_flatten(["alpha", "value"]).transform_filter(condition)
    line = base.mark_line(strokeWidth=1.6).encode(
        x=x,
        y=y,
        color=theme.colour(groups, drawn, legend=legend),
        detail=alt.Detail("setting:N"),
        opacity=alt.Opacity("rank:Q", scale=alt.Scale(domain=[0, 1], range=[0.4, 0.95]), legend=None),
        tooltip=[*told, alt.Tooltip("runs:Q")],
    )
    ends = base.transform_filter("datum.alpha === 0 || datum.alpha === 1")
    ends = ends.mark_point(size=34, strokeWidth=1.6, opacity=1).encode(
        x=alt.X("alpha:Q"),
        y=alt.Y("value:Q"),
        color=theme.colour(groups, drawn, legend=legend),
        fill=alt.condition("datum.alpha === 1", theme.colour(groups, drawn), alt.value("transparent")),
        tooltip=[*told, alt.Tooltip("runs:Q")],
    )
    layers = [line, ends]
    if stars:
        chosen = alt.Chart(alt.Data(values=stars)).transform_filter(condition)
        chosen = chosen.mark_point(shape=STAR, size=130, filled=True, opacity=1).encode(
            x=alt.X("alpha:Q"),
            y=alt.Y("value:Q"),
            color=theme.colour(groups, drawn, legend=legend),
            tooltip=[told[0], alt.Tooltip("alpha:Q", title="α chosen on val", format=".3~g"), told[2]],
        )
        layers.append(chosen)
    data = alt.Data(values=records)  # once for all layers
    return alt.layer(*layers, data=data, width=_WIDTH, height=_HEIGHT, title=title)
