"""Where a model is sharp, layer by layer, and from where on along the path."""

from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.report import theme
from tunescope.report.choice import choices
from tunescope.report.columns import column, digits, unfolded
from tunescope.report.landscape_numbers import KINDS, Place, means, numbers, setting, settings

if TYPE_CHECKING:
    from tunescope.results.table import Table

SETTINGS_AT_MOST = 24
MAPS_AT_MOST = 12  # side by side; of more, those of one group at a time
COLUMNS = 4
_CELL, _ROW = 30, 16
_SHORT = "length(datum.label) > 26 ? '…' + slice(datum.label, -25) : datum.label"


def layer_maps(table: "Table") -> list[alt.TopLevelMixin]:
    """Sharpness of each layer alone by α, a map for each setting; a chart for each kind of sharpness.

    Where tuned models alone were measured, one map of settings by layers.
    """
    drawn = ((title, _records(table, kind)) for kind, title in KINDS.items())
    return [_maps(title, records) for title, records in drawn if records]


def _records(table: "Table", kind: str) -> list[dict[str, Any]]:
    shown = settings(table, SETTINGS_AT_MOST)
    tuned = means(numbers(table, f"layer_sharpness_{kind}", ("layer",)), setting)
    along = means(numbers(table, f"layer_sharpness_along_{kind}", ("layer", "point")), setting)
    cells: dict[Place, float] = {(*place, 1.0): value for place, value in tuned.items()} | along
    found: dict[Place, dict[Place, float]] = {}
    for (name, part, layer, alpha), value in cells.items():
        if name in shown:
            found.setdefault((name, part), {})[layer, alpha] = value
    return [
        {
            "setting": name,
            "group": shown[name],
            "part": part,
            "layer": [layer for layer, _ in sorted(layers)],
            "alpha": [digits(alpha) for _, alpha in sorted(layers)],
            "value": column(layers[place] for place in sorted(layers)),
        }
        for (name, part), layers in found.items()
    ]


def _maps(title: str, records: list[dict[str, Any]]) -> alt.TopLevelMixin:
    names = list(dict.fromkeys(record["setting"] for record in records))
    alphas = sorted({alpha for record in records for alpha in record["alpha"]})
    tall = len({layer for record in records for layer in record["layer"]})
    along = len(alphas) > 1
    groups = ("group",) if along and len(names) > MAPS_AT_MOST else ()
    params, narrowed = choices(records, "part", *groups)
    values = [value for record in records for value in record["value"] if value is not None]
    chart = (
        unfolded(records)
        .transform_filter(narrowed)
        .mark_rect()
        .encode(
            color=_colours(values),
            tooltip=[
                alt.Tooltip("setting:N"),
                alt.Tooltip("layer:Q"),
                alt.Tooltip("alpha:Q", title="α", format=".3~g"),
                alt.Tooltip("value:Q", title="sharpness, nats", format=".3~g"),
            ],
        )
    )
    if not along:
        across = alt.Axis(labelAngle=0, labelOverlap=True, domain=False)
        y = alt.Y("setting:N", sort=names, title=None, axis=alt.Axis(grid=False))
        chart = chart.encode(x=alt.X("layer:O", title="layer", axis=across), y=y)
        shown = chart.properties(width=_CELL * tall, height=alt.Step(_ROW + 2))
    else:
        at = alt.Axis(labelAngle=0, labelOverlap=True, domain=False, format="~g")
        layer = alt.Axis(grid=False, labelOverlap=True)
        chart = chart.encode(
            x=alt.X("alpha:O", title="α", axis=at),
            y=alt.Y("layer:O", title="layer", sort="descending", axis=layer),
        ).properties(width=max(150, min(_CELL * len(alphas), 220)), height=max(9, _ROW) * tall)
        header = alt.Header(labelExpr=_SHORT, labelAnchor="start")
        facet = alt.Facet("setting:N", sort=names, title=None, header=header)
        shown = chart.facet(facet=facet, columns=COLUMNS).properties(spacing=18)
    return shown.properties(
        title=title, description=f"Maps of the sharpness of single layers, {title}, by setting."
    ).add_params(*params)


def _colours(values: list[float]) -> alt.Color:
    """By the root of the sharpness, so that a few sharp settings leave the others their differences."""
    most = digits(max(map(abs, values), default=0.0) or 1.0, 2)
    if min(values, default=0.0) < 0:
        domain, range = [-most, 0, most], [theme.RISE, theme.STILL, theme.FALL]
    else:
        domain, range = [0, most], [theme.STILL, theme.FALL]
    return alt.Color(
        "value:Q",
        scale=alt.Scale(type="sqrt", domain=domain, range=range, interpolate="rgb", clamp=True, nice=False),
        legend=alt.Legend(
            title="nats", orient="top", gradientLength=240, gradientThickness=10, format="~g", tickCount=4
        ),
    )
