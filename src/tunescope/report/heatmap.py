"""Runs × layers: where in the model attention changed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import altair as alt

from tunescope.report import frames, theme
from tunescope.report.frames import ENTROPY, Run

if TYPE_CHECKING:
    from tunescope.results.table import Table

ROWS_AT_MOST = 48  # taller heatmaps average over seeds
SIGNED = "+.2f"


def entropy_by_layer(table: "Table") -> list[alt.VConcatChart]:
    """Change of attention entropy by run and layer, mean over heads. One chart for each tower."""
    towers: dict[str | None, dict[str, dict[int, float]]] = {}
    for record in frames.read(table, ENTROPY, by=("tower", "run", "layer")):
        if record["layer"] is not None:
            layers = towers.setdefault(record["tower"], {}).setdefault(record["run"], {})
            layers[record["layer"]] = record["value"]
    drawn = [
        (tower, [run for run in frames.done(table) if run.id in found], found)
        for tower, found in towers.items()
    ]
    return [_heatmap(tower, runs, found) for tower, runs, found in drawn if runs]


def _heatmap(tower: str | None, runs: Sequence[Run], found: dict[str, dict[int, float]]) -> alt.VConcatChart:
    """One block of rows for each group, all on one scale of colours."""
    by_seed = len(runs) <= ROWS_AT_MOST
    cells: dict[str, dict[tuple[str, int], list[float]]] = {}
    for run in runs:
        for layer, change in found[run.id].items():
            cell = (run.name if by_seed else run.setting, layer)
            cells.setdefault(run.group, {}).setdefault(cell, []).append(change)
    means = {
        group: [
            {"run": name, "layer": layer, "change": round(frames.mean(changes), 5)}
            for (name, layer), changes in block.items()
        ]
        for group, block in cells.items()
    }
    layers = sorted({record["layer"] for block in means.values() for record in block})
    most = max(abs(record["change"]) for block in means.values() for record in block) or 1.0
    blocks = [_block(block, layers, most, first=not place) for place, block in enumerate(means.values())]
    what = f"the {tower} tower" if tower else "the model"
    return alt.vconcat(
        *blocks,
        spacing=8,
        description=f"Runs by layers of {what}: change of attention entropy, nats, mean over heads.",
    )


def _block(records: list[dict], layers: Sequence[int], most: float, *, first: bool) -> theme.Layers:
    base = alt.Chart(alt.Data(values=records)).encode(
        x=alt.X(
            "layer:O",
            title="layer" if first else None,
            scale=alt.Scale(domain=list(layers)),
            axis=alt.Axis(orient="top", labelAngle=0, domain=False) if first else None,
        ),
        y=alt.Y("run:N", sort=list(dict.fromkeys(record["run"] for record in records)), title=None),
    )
    cell = base.mark_rect().encode(
        color=alt.Color(
            "change:Q",
            scale=alt.Scale(
                domain=[-most, 0, most], range=[theme.FALL, theme.STILL, theme.RISE], interpolate="rgb"
            ),
            legend=alt.Legend(
                title="nats", orient="bottom", gradientLength=240, gradientThickness=10, format=SIGNED
            ),
        ),
        tooltip=[
            alt.Tooltip("run:N"),
            alt.Tooltip("layer:O"),
            alt.Tooltip("change:Q", title="change, nats", format="+.3f"),
        ],
    )
    number = base.mark_text(fontSize=10).encode(
        text=alt.Text("change:Q", format=SIGNED),
        color=alt.condition(f"abs(datum.change) > {0.55 * most}", alt.value("#ffffff"), alt.value("#2a2c30")),
    )
    return alt.layer(cell, number, width=alt.Step(62 if len(layers) <= 12 else 40), height=alt.Step(19))
