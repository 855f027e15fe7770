"""The chart of what each way of tuning costs and brings: quality, trained share, memory, time."""

from typing import TYPE_CHECKING

import altair as alt

from tunescope.report import charts, frames, theme
from tunescope.report.quality import TEST, quality

if TYPE_CHECKING:
    from tunescope.results.table import Table

_COSTS = (
    ("training.share", None, "trained share", "~%"),
    ("training.memory", None, "memory, MiB", ",~f"),
    ("training.seconds", None, "seconds", ",~f"),
)
_LOGARITHMIC = ("training.share",)
_WIDTH, _STEP = 185, 18


def cost(table: "Table") -> list[alt.HConcatChart]:
    """A panel for each quantity, a line for each group: a dot for each run, a tick at their mean.

    Groups are in order of how good they are at the task, the best first; where nobody knows, in the study's
    order. Nothing is drawn of fewer than two groups, or without a cost.
    """
    runs = frames.done(table)
    good = quality(table)
    quantities = ((good.metric, TEST, f"test {good.name}", good.axis), *_COSTS)
    values = [frames.per_run(table, metric, where) for metric, where, *_ in quantities]
    groups = [group for group in frames.groups(table) if any(run.group == group for run in runs)]
    if len(groups) < 2 or not any(values[1:]):
        return []
    reached = {
        group: frames.mean(found)
        for group in groups
        if (found := [values[0][run.id] for run in runs if run.group == group and run.id in values[0]])
    }
    order = sorted(groups, key=lambda group: -reached.get(group, -1.0))
    panels = []
    for (metric, _, title, form), found in zip(quantities, values, strict=True):
        logarithmic = metric in _LOGARITHMIC
        records = [
            {"group": run.group, "run": run.name, "value": found[run.id]}
            for run in runs
            if run.id in found and (found[run.id] > 0 or not logarithmic)
        ]
        if records:
            panels.append(_panel(table, records, order, title, form, logarithmic, first=not panels))
    return [
        alt.hconcat(*panels, spacing=20).properties(
            description=f"Test {good.name}, share of trained parameters, memory and seconds of each group's "
            "runs."
        )
    ]


def _panel(
    table: "Table",
    records: charts.Records,
    order: list[str],
    title: str,
    form: str,
    logarithmic: bool,
    first: bool,
) -> theme.Layers:
    axis = alt.Axis(grid=True) if first else alt.Axis(grid=True, labels=False)
    base = alt.Chart(alt.Data(values=records)).encode(
        y=alt.Y("group:N", sort=order, scale=alt.Scale(domain=order), title=None, axis=axis)
    )
    dots = base.mark_point(filled=True, size=44, opacity=0.85).encode(
        x=alt.X(
            "value:Q",
            title=None,
            scale=alt.Scale(type="log", padding=6) if logarithmic else alt.Scale(zero=True, padding=6),
            axis=alt.Axis(format=form, tickCount=4, labelOverlap="greedy", labelSeparation=6),
        ),
        color=theme.colour(frames.groups(table), order, legend=None),
        tooltip=[alt.Tooltip("run:N"), alt.Tooltip("value:Q", title=title, format=".4~g")],
    )
    mean = base.mark_tick(thickness=2, size=12, color=theme.REFERENCE).encode(
        x=alt.X("mean(value):Q"),
        tooltip=[alt.Tooltip("group:N"), alt.Tooltip("mean(value):Q", title="mean", format=".4~g")],
    )
    return alt.layer(mean, dots, width=_WIDTH, height=alt.Step(_STEP), title=title)
