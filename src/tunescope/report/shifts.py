"""The chart of what became of a tuned model on data of another kind."""

from typing import TYPE_CHECKING

import altair as alt

from tunescope.report import frames, theme
from tunescope.report.frames import Run
from tunescope.report.quality import quality

if TYPE_CHECKING:
    from tunescope.results.table import Table

# References of data may be paths: their ends tell them apart.
_SHORT = "length(datum.label) > 22 ? '…' + slice(datum.label, -21) : datum.label"


def heads(table: "Table") -> set[str]:
    """The heads that shifts were read under: `trained`, and `text`, the head made of the names of classes."""
    found = frames.read(table, quality(table).metric, {"split": "shift:*"}, by=("component",))
    return {record["component"] for record in found}


def shifts(table: "Table") -> list[alt.FacetChart]:
    """Quality under shift, by setting: under the trained head and, where there is one, the text head."""
    good = quality(table)
    runs = frames.done(table)
    members: dict[str, list[Run]] = {}  # two groups may share a run
    for run in runs:
        members.setdefault(run.id, []).append(run)
    found: dict[tuple[str, str, str, str], list[float]] = {}
    for where in ({"split": "test"}, {"split": "shift:*"}):
        for record in frames.read(table, good.metric, where, by=("run", "split", "component")):
            if record["component"] in ("trained", "text"):
                split = record["split"].removeprefix("shift:")
                for run in members.get(record["run"], ()):
                    key = (split, run.group, run.setting, f"{record['component']} head")
                    found.setdefault(key, []).append(record["value"])
    splits = list(dict.fromkeys(key[0] for key in found))
    if not [split for split in splits if split != "test"]:
        return []
    base = {
        record["split"].removeprefix("shift:"): record["value"]
        for record in frames.read(table, f"{good.metric}.base", {"component": "text"}, by=("split",))
    }
    records = [
        dict(zip(("split", "group", "setting", "head"), key, strict=True))
        | {"value": frames.mean(values), "before": base.get(key[0])}
        for key, values in found.items()
    ]
    drawn = [record["group"] for record in records]
    known = any(record["before"] is not None for record in records)
    settings = list(dict.fromkeys(run.setting for run in runs))
    y = alt.Y("setting:N", sort=settings, title=None, axis=alt.Axis(grid=True))
    data = alt.Chart().encode(
        y=y, color=theme.colour(frames.groups(table), drawn, legend=alt.Legend(symbolOpacity=1))
    )
    join = data.mark_rule(opacity=0.45, strokeWidth=2).encode(
        x=alt.X("min(value):Q"), x2=alt.X2("max(value):Q")
    )
    before = alt.Chart().mark_rule(strokeDash=[4, 4], color=theme.REFERENCE).encode(x=alt.X("mean(before):Q"))
    dots = data.mark_point(size=55, strokeWidth=1.8, opacity=1).encode(
        x=alt.X("value:Q", title=None, axis=alt.Axis(format=good.axis, tickCount=4, grid=True)),
        fill=alt.condition(
            "datum.head == 'trained head'",
            theme.colour(frames.groups(table), drawn),
            alt.value("transparent"),
        ),
        tooltip=[
            alt.Tooltip("setting:N"),
            alt.Tooltip("split:N"),
            alt.Tooltip("head:N"),
            alt.Tooltip("value:Q", title=good.name, format=good.value),
        ],
    )
    return [
        alt.layer(*([before] if known else []), join, dots, data=alt.Data(values=records))
        .properties(width=145, height=alt.Step(20))
        .facet(column=alt.Column("split:N", sort=splits, title=None, header=alt.Header(labelExpr=_SHORT)))
        .properties(
            spacing=18,
            description=f"{good.name.capitalize()} by setting, in distribution and under each shift: filled "
            "dots are read under the trained head, open ones, if any, under the original text head.",
        )
    ]
