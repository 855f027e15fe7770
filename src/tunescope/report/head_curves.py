"""How far the heads of each layer had moved, step by step, where a monitor looked on."""

from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.report import charts, frames, theme
from tunescope.report.choice import choices
from tunescope.report.columns import column, unfolded
from tunescope.report.frames import Run

if TYPE_CHECKING:
    from tunescope.results.table import Table

UPDATE = "heads.update_relative"
SETTINGS_AT_MOST = 24

Curves = dict[str, dict[int, dict[int, list[float]]]]  # setting → layer → step → one number a run


def over_steps(table: "Table") -> list[alt.Chart]:
    """Mean relative update of a layer's heads by optimiser step, mean over the runs of a setting; one chart a
    tower.
    """
    read = [
        record
        for record in frames.read(table, UPDATE, {"component": "all"}, by=("run", "tower", "layer", "step"))
        if record["step"] is not None and record["layer"] is not None
    ]
    members: dict[str, list[Run]] = {}  # two groups may share a run
    for run in frames.runs(table):
        members.setdefault(run.id, []).append(run)
    cells: dict[str, Curves] = {}
    for record in read:
        for run in members.get(record["run"], ()):
            curves = cells.setdefault(record["tower"], {}).setdefault(run.setting, {})
            curve = curves.setdefault(record["layer"], {})
            curve.setdefault(record["step"], []).append(record["value"])
    order = list(dict.fromkeys(run.setting for run in frames.runs(table)))
    return [_lines(tower, found, order) for tower, found in cells.items()]


def _lines(tower: str, found: Curves, order: list[str]) -> alt.Chart:
    settings = [setting for setting in order if setting in found][:SETTINGS_AT_MOST]
    records: list[dict[str, Any]] = []
    for setting in settings:
        for layer, steps in sorted(found[setting].items()):
            curve = charts.thin([(step, frames.mean(values)) for step, values in sorted(steps.items())])
            places, means = zip(*curve, strict=True)
            place = {"setting": setting, "layer": layer}
            records.append(place | {"step": list(places), "update": column(means)})
    layers = max(record["layer"] for record in records)
    params, narrowed = choices(records, "setting")
    return (
        unfolded(records)
        .transform_filter(narrowed)
        .mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=18))
        .encode(
            x=alt.X(
                "step:Q",
                title="optimiser step",
                axis=alt.Axis(tickMinStep=1, tickCount=6),
                scale=alt.Scale(nice=False),
            ),
            y=alt.Y(
                "update:Q",
                title="relative update, mean over heads",
                axis=alt.Axis(format=".3~g", tickCount=5),
            ),
            color=theme.by_layer(layers),
            detail=alt.Detail("layer:Q"),
            tooltip=[
                alt.Tooltip("setting:N"),
                alt.Tooltip("layer:Q"),
                alt.Tooltip("step:Q"),
                alt.Tooltip("update:Q", format=".3~g"),
            ],
        )
        .properties(
            width="container",
            height=240,
            title=f"{tower} tower",
            description=f"Relative update of each layer of the {tower} tower by optimiser step.",
        )
        .add_params(*params)
    )
