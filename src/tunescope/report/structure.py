"""The pretrained model's attention, layer by layer: what tuning starts from."""

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.report import frames, layer_lines, theme
from tunescope.report.choice import choices, select
from tunescope.report.columns import column, unfolded

if TYPE_CHECKING:
    from tunescope.results.table import Table

QUANTITIES = {
    "attention.entropy": "entropy, nats",
    "attention.entropy_normalised": "entropy, normalised",
    "attention.erf95": "ERF95",
    "attention.gini": "Gini coefficient",
    "attention.head_diversity": "head diversity",
    "attention.distance": "distance, px",
    "attention.sink_mass": "sink mass",
    "attention.value_weighted_entropy": "value-weighted entropy, nats",
}
CONTEXT = ("model", "data", "label", "image_size", "max_tokens")  # factors that a base model is seen by
ALIKE = 1e-4  # base models that differ by less are one, seen by other threads
HEIGHT = 300

Seen = dict[tuple[str, int, int | None], float]  # quantity, layer, head → value


def structure(table: "Table") -> list[theme.Layers]:
    """The base model's attention by layer, a chart for each tower: dots are heads, the line is their mean."""
    found: dict[str | None, dict[str, Seen]] = {}
    for metric, name in QUANTITIES.items():
        for record in frames.read(table, f"{metric}.base", by=("tower", "run", "layer", "head")):
            if record["layer"] is not None:
                seen = found.setdefault(record["tower"], {}).setdefault(record["run"], {})
                seen[name, record["layer"], record["head"]] = record["value"]
    return [
        _chart(tower, drawn, len(found) > 1)
        for tower, seen in found.items()
        if (drawn := _bases(table, seen))
    ]


def _bases(table: "Table", seen: Mapping[str, Seen]) -> dict[str, Seen]:
    """Each base model that was seen, by what it was seen with: its factors, or else its runs' groups."""
    kinds: list[tuple[Seen, list[frames.Run]]] = []
    for run in frames.done(table):
        if run.id in seen:
            own = next((runs for base, runs in kinds if _alike(base, seen[run.id])), None)
            if own is None:
                kinds.append((seen[run.id], [run]))
            else:
                own.append(run)
    told = [
        [{f"{run.factors[name]}" for run in runs if name in run.factors} for name in CONTEXT]
        for _, runs in kinds
    ]
    names = [", ".join(next(iter(values)) for values in each if len(values) == 1) for each in told]
    if "" in names or len(set(names)) < len(names):
        names = [", ".join(dict.fromkeys(run.group for run in runs)) for _, runs in kinds]
    if len(set(names)) < len(names):
        names = [f"{place}: {name}" for place, name in enumerate(names, 1)]
    return {name: base for name, (base, _) in zip(names, kinds, strict=True)}


def _alike(one: Seen, other: Seen) -> bool:
    return one.keys() == other.keys() and all(
        math.isclose(value, other[place], rel_tol=ALIKE, abs_tol=ALIKE) for place, value in one.items()
    )


def _chart(tower: str | None, bases: Mapping[str, Seen], several: bool) -> theme.Layers:
    names = list(dict.fromkeys(name for base in bases.values() for name, _, _ in base))
    dots: list[dict[str, Any]] = []
    means: list[dict[str, Any]] = []
    for of, base in bases.items():
        layers = sorted({layer for _, layer, _ in base})
        heads = sorted({head for _, _, head in base if head is not None})
        if heads:
            places = [(layer, head) for layer in layers for head in heads]
            dots.append(
                {"of": of, "layer": [layer for layer, _ in places], "head": [head for _, head in places]}
                | {name: column(base.get((name, *place), math.nan) for place in places) for name in names}
            )
        by_layer: dict[tuple[str, int], list[float]] = {}
        for (name, layer, _), value in base.items():
            by_layer.setdefault((name, layer), []).append(value)
        means.append(
            {"of": of, "layer": layers}
            | {
                name: column(frames.mean(by_layer.get((name, layer), [math.nan])) for layer in layers)
                for name in names
            }
        )
    params, narrowed = choices(means, "of")
    params = [select("measure", names), *params]

    # a head without the measure has no size, not no record: a layer without records would have no scale
    middle = {name: frames.mean([v for r in means for v in r[name] if v is not None]) for name in names}
    known = f"isValid(datum[measure]) ? datum[measure] : {json.dumps(middle)}[measure]"

    def placed(records: list[dict[str, Any]]) -> alt.Chart:
        chart = unfolded(records).transform_filter(narrowed)
        return chart.transform_calculate(value=known, known="isValid(datum[measure])").encode(
            x=layer_lines.across(max((record["layer"] for record in means), key=len)),
            y=alt.Y(
                "value:Q",
                title=None,
                axis=alt.Axis(format=".3~g", tickCount=6),
                scale=alt.Scale(zero=False, padding=10),
            ),
        )

    ink = theme.COLOURS[0]
    told = alt.Tooltip("value:Q", title="value", format=".3~g")
    line = (
        placed(means)
        .transform_filter("datum.known")
        .mark_line(color=ink, strokeWidth=2.2, point=alt.OverlayMarkDef(color=ink, size=60, filled=True))
    )
    layers = [line.encode(tooltip=[alt.Tooltip("layer:Q"), told])]
    if dots:
        heads = placed(dots).mark_point(filled=True, color=theme.REFERENCE, opacity=0.5)
        heads = heads.encode(
            size=alt.condition("datum.known", alt.value(34), alt.value(0)),
            tooltip=[alt.Tooltip("layer:Q"), alt.Tooltip("head:Q"), told],
        )
        layers.insert(0, heads)
    where = f"{tower} tower" if tower else "model"
    return alt.layer(
        *layers,
        width="container",
        height=HEIGHT,
        title=alt.TitleParams(alt.ExprRef(f"measure + {json.dumps(f', {where}' if several else '')}")),
        description=f"The pretrained {where} by layer: dots are heads, the line is their mean.",
    ).add_params(*params)
