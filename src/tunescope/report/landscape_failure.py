"""How many runs are in the failure mode: no point of the path beats the base under a shift."""

from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.report import frames, theme
from tunescope.report.choice import choices
from tunescope.report.landscape_numbers import numbers, read_on, together

if TYPE_CHECKING:
    from tunescope.results.table import Table


def failures(table: "Table") -> list[theme.Layers]:
    """The share of each group's runs in failure mode, under the shift that is selected."""
    found = numbers(table, "failure", ("split",))
    found.sort(key=lambda number: number.place[0] != "shift:mean")  # stable: the mean first, as it is asked
    records: list[dict[str, Any]] = [
        {
            "group": group,
            "part": part,
            "data": read_on(split),
            "share": round(frames.mean(values), 4),
            "told": f"{sum(value > 0.5 for value in values)} of {len(values)}",
        }
        for (part, split, group), values in together(
            found, lambda number: (number.part, *number.place, number.run.group)
        ).items()
    ]
    if not records:
        return []
    params, narrowed = choices(records, "data", "part")
    groups = frames.groups(table)
    drawn = {record["group"] for record in records}
    base = alt.Chart().transform_filter(narrowed)
    y = alt.Y("group:N", sort=[group for group in groups if group in drawn], title=None)
    x = alt.X(
        "share:Q",
        title="runs in which no α beats the model before tuning",
        scale=alt.Scale(domain=[0, 1], nice=False),
        axis=alt.Axis(format="%", tickCount=5, grid=True, labelOverlap="greedy", labelSeparation=6),
    )
    bars = base.mark_bar(height=14, opacity=0.85).encode(
        x=x,
        y=y,
        color=theme.colour(groups, list(drawn), legend=None),
        tooltip=[alt.Tooltip("group:N"), alt.Tooltip("told:N", title="runs")],
    )
    told = base.mark_text(align="left", dx=6, fontSize=11, color=theme.REFERENCE)
    told = told.encode(x=alt.X("share:Q"), y=y, text=alt.Text("told:N"))
    return [
        alt.layer(
            bars,
            told,
            data=alt.Data(values=records),
            width="container",
            height=26 * len(drawn),
            padding={"left": 4, "top": 4, "bottom": 4, "right": 60},
            description="Share of each group's runs in which no α beats the base under the shift.",
        ).add_params(*params)
    ]
