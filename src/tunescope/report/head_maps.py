"""Layer × head maps of every quantity of the attention heads."""

import json
from collections.abc import Sequence
from typing import Any

import altair as alt

from tunescope.report import heads, theme
from tunescope.report.choice import choices, select
from tunescope.report.columns import column, unfolded
from tunescope.report.heads import SettingHeads

BEFORE, CHANGE = "before", "importance.change"  # under whichever head losses are read

# In the order of the page's select, as people call them.
NAMES = {
    "importance": "importance",
    BEFORE: "importance before tuning",
    CHANGE: "change of importance",
    "update_relative": "relative update",
    "update": "update",
    "update_relative.q": "relative update of q",
    "update_relative.k": "relative update of k",
    "update_relative.v": "relative update of v",
    "update_relative.o": "relative update of o",
    "plasticity.attention": "plasticity",
    "plasticity.change.attention": "change of plasticity",
    "gate_gradient": "gate gradient, mean magnitude",
    "gate_fisher": "gate gradient, mean square",
}
MAPS_AT_MOST = 12  # side by side; of more, those of one group at a time
COLUMNS = 4
_HALF = "#8da9c5"  # halfway from still to rise
_SHORT = "length(datum.label) > 26 ? '…' + slice(datum.label, -25) : datum.label"


def maps(found: Sequence[SettingHeads]) -> list[alt.FacetChart]:
    """One map for each setting, of the quantity that is selected, all on one scale of colours."""
    records = [_record(one) for one in found]
    quantities = [name for name in NAMES if any(_field(name) in record for record in records)]
    if not quantities:
        return []
    fields = [_field(name) for name in quantities]
    settings = list(dict.fromkeys(record["setting"] for record in records))
    crowded = len(settings) > MAPS_AT_MOST
    params, narrowed = choices(records, "part", *(("group",) if crowded else ()))
    params = [select("quantity", fields, [NAMES[name] for name in quantities]), *params]
    params += _colours(records, fields)
    wide = 1 + max(max(record["head"]) for record in records)
    tall = 1 + max(max(record["layer"]) for record in records)
    size = max(15, -(-150 // wide))
    chart = (
        unfolded(records)
        .transform_calculate(value="datum[quantity]")
        .transform_filter(f"isValid(datum.value) && {narrowed}")
        .mark_rect()
        .encode(
            x=alt.X("head:O", title="head", axis=alt.Axis(labelAngle=0, labelOverlap=True, domain=False)),
            y=alt.Y(
                "layer:O", title="layer", sort="descending", axis=alt.Axis(grid=False, labelOverlap=True)
            ),
            color=alt.Color(
                "value:Q",
                scale=alt.Scale(
                    domain=[alt.expr("least"), alt.expr("(least + most) / 2"), alt.expr("most")],
                    range=[alt.expr("dark"), alt.expr("middle"), theme.RISE],
                    interpolate="rgb",
                ),
                legend=alt.Legend(orient="top", gradientLength=240, gradientThickness=10, format=".3~g"),
            ),
            tooltip=[
                alt.Tooltip("setting:N"),
                alt.Tooltip("layer:Q"),
                alt.Tooltip("head:Q"),
                alt.Tooltip("value:Q", format=".3~g"),
            ],
        )
        .properties(width=size * wide, height=max(9, min(size, 15)) * tall)
    )
    return [
        chart.facet(
            facet=alt.Facet(
                "setting:N",
                sort=settings,
                title=None,
                header=alt.Header(labelExpr=_SHORT, labelAnchor="start"),
            ),
            columns=COLUMNS,
        )
        .properties(
            spacing=18, description="Maps of attention heads by layer and head, one for each setting."
        )
        .add_params(*params)
    ]


def _field(quantity: str) -> str:
    """A quantity as a field's name: Vega takes a dot for a path."""
    return quantity.replace(".", "_")


def _record(one: SettingHeads) -> dict[str, Any]:
    shape = next(iter(one.values.values())).shape
    record: dict[str, Any] = {"setting": one.setting, "group": one.group, "part": one.part}
    values = dict(one.values)
    before, after = one.get(one.before), one.get("importance")
    if before is not None:
        values[BEFORE] = before
        if after is not None:
            values[CHANGE] = after - before
    known = {_field(name): column(values[name].ravel()) for name in NAMES if name in values}
    return record | heads.places(shape) | known


def _colours(records: Sequence[dict[str, Any]], fields: Sequence[str]) -> list[Any]:
    """The ends of the selected quantity's scale: around 0 where it has signs, otherwise from 0.

    Parts have scales of their own: a loss read under one head may rise a hundred times as much without an
    attention head as one read under another.
    """
    most: dict[str, dict[str, float]] = {}
    signed: dict[str, dict[str, bool]] = {}
    for part in dict.fromkeys(record["part"] for record in records):
        mine = [record for record in records if record["part"] == part]
        for field in fields:
            found = [value for record in mine for value in record.get(field, ()) if value is not None]
            most.setdefault(part, {})[field] = max(map(abs, found), default=0.0) or 1.0
            signed.setdefault(part, {})[field] = min(found, default=0.0) < 0
    at = f"[{'part' if len(most) > 1 else json.dumps(next(iter(most)))}][quantity]"
    return [
        alt.param(name="most", expr=json.dumps(most) + at),
        alt.param(name="signed", expr=json.dumps(signed) + at),
        alt.param(name="least", expr="signed ? -most : 0"),
        alt.param(name="dark", expr=f"signed ? '{theme.FALL}' : '{theme.STILL}'"),
        alt.param(name="middle", expr=f"signed ? '{theme.STILL}' : '{_HALF}'"),
    ]
