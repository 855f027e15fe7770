"""Which layers cannot be set back: barriers of single layers, and the stragglers among them."""

from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.report import theme
from tunescope.report.choice import choices
from tunescope.report.columns import column
from tunescope.report.landscape_numbers import Place, means, numbers, setting, settings, together
from tunescope.stats.run_mean import UNBOUNDED, run_mean

if TYPE_CHECKING:
    from tunescope.results.table import Table

SETTINGS_AT_MOST = 40
STANDS_OUT, LARGEST, OTHER = "straggler: stands out by z", "straggler: among the largest", "other layers"
CASES = {STANDS_OUT: theme.COLOURS[6], LARGEST: theme.COLOURS[1], OTHER: theme.REFERENCE}
PANELS = {
    "layer_barrier": ("barrier of the layer alone, nats", (0.0, UNBOUNDED[1])),
    "rewind": ("rise of the loss when it is set back, nats", UNBOUNDED),
}
COLUMNS: list[str | alt.FieldName] = [
    "layer",
    "case",
    "stands_out",
    "largest",
    "runs",
    *(f"{name}{end}" for name in PANELS for end in ("", "_low", "_high")),
]
_ENDS = {"bottom": "low", "top": "high"}


def barriers(table: "Table") -> list[alt.HConcatChart]:
    """Barrier and rewind, layer by layer, of the setting that is selected: means over its runs."""
    records = by_layer(table)
    if not records:
        return []
    params, narrowed = choices(records, "setting", "part")
    panels = [_bars(name, title, narrowed) for name, (title, _) in PANELS.items()]
    chart = alt.hconcat(*panels, spacing=26, data=alt.Data(values=records)).properties(
        description="Bars by layer: the barrier of each layer alone, and what setting it back costs."
    )
    return [chart.add_params(*params)]


def by_layer(table: "Table") -> list[dict[str, Any]]:
    """A record for each setting and part, its layers in columns."""
    shown = settings(table, SETTINGS_AT_MOST)
    found = {name: _layers(table, name) for name in PANELS}
    shares = {
        name: means(numbers(table, name, ("layer",)), setting) for name in ("straggler", "straggler_top")
    }
    records: list[dict[str, Any]] = []
    for (name, part), layers in found["layer_barrier"].items():
        if name not in shown:
            continue
        at = sorted(layers)
        share = {which: [of.get((name, part, layer), 0.0) for layer in at] for which, of in shares.items()}
        record: dict[str, Any] = {"setting": name, "part": part, "layer": at}
        for quantity, (_, within) in PANELS.items():
            known = found[quantity].get((name, part), {})
            every = [run_mean(quantity, known.get(layer, []), within) for layer in at]
            record[quantity] = column(float("nan") if one is None else one.value for one in every)
            for end in ("low", "high"):
                ends = (None if one is None else getattr(one, end) for one in every)
                record[f"{quantity}_{end}"] = column(float("nan") if e is None else e for e in ends)
        record["case"] = list(map(_case, share["straggler"], share["straggler_top"]))
        record["flat"] = "" if any(record["layer_barrier"]) else "layer_barrier"
        record |= {"stands_out": column(share["straggler"]), "largest": column(share["straggler_top"])}
        records.append(record | {"runs": [len(layers[layer]) for layer in at]})
    return records


def _layers(table: "Table", metric: str) -> dict[Place, dict[int, list[float]]]:
    found: dict[Place, dict[int, list[float]]] = {}
    for (name, part, layer), values in together(numbers(table, metric, ("layer",)), setting).items():
        found.setdefault((name, part), {})[layer] = values
    return found


def _case(z: float, top: float) -> str:
    """What at least half of the runs say; the probe marks no layer whose score is not above 0."""
    if z >= 0.5:
        return STANDS_OUT
    return LARGEST if top >= 0.5 else OTHER


def _bars(name: str, title: str, narrowed: str) -> theme.Layers:
    scale = alt.Scale(domain=list(CASES), range=list(CASES.values()))
    base = (
        alt.Chart()
        .transform_filter(narrowed)
        .transform_flatten(COLUMNS)
        .encode(
            x=alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0, labelOverlap=True, domain=False))
        )
    )
    bars = base.mark_bar(opacity=0.6).encode(
        y=alt.Y(f"{name}:Q", title=None, axis=alt.Axis(format=".3~g", tickCount=5)),
        color=alt.Color("case:N", scale=scale, legend=alt.Legend(columns=3, symbolType="square")),
        tooltip=[
            alt.Tooltip("setting:N"),
            alt.Tooltip("layer:Q"),
            alt.Tooltip(f"{name}:Q", title=name.replace("_", " "), format=".3~g"),
            *(alt.Tooltip(f"{name}_{end}:Q", title=end, format=".3~g") for end in ("low", "high")),
            alt.Tooltip("stands_out:Q", title="runs in which it stands out", format=".0%"),
            alt.Tooltip("largest:Q", title="runs in which it is among the largest", format=".0%"),
            alt.Tooltip("runs:Q"),
        ],
    )
    # without an interval the rule has no length and is not seen; a layer without records would have no scale
    ends = {
        end: f"isValid(datum.{name}_{of}) ? datum.{name}_{of} : datum.{name}" for end, of in _ENDS.items()
    }
    spread = base.transform_calculate(**ends).mark_rule(color=theme.REFERENCE, strokeWidth=1.4)
    spread = spread.encode(y=alt.Y("bottom:Q"), y2="top:Q")
    flat = base.transform_filter(f"datum.flat === '{name}' && datum.layer === 0")
    none = flat.mark_text(align="left", fontSize=11, color=theme.REFERENCE, text="no layer has one")
    none = none.encode(x=alt.value(0), y=alt.value(12))
    return alt.layer(bars, spread, none, width=330, height=220, title=title)
