"""Two settings side by side: what matters and moves, how far heads moved, and the same head in both."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from tunescope.report import head_scatter, heads, theme
from tunescope.report.choice import choices, select
from tunescope.report.columns import column, unfolded
from tunescope.report.heads import SettingHeads

_SIZE = 290
_SIDES = ("first", "second")
_UPDATE = "relative update"


def compare(found: Sequence[SettingHeads]) -> list[alt.VConcatChart]:
    """Scatter side by side, distributions of updates, and head by head, of two settings that are selected."""
    records = [record for one in found if (record := _record(one)) is not None]
    settings = list(dict.fromkeys(record["setting"] for record in records))
    if len(settings) < 2:
        return []
    params = [select("first", settings), select("second", settings, start=_other(records))]
    parts, narrowed = choices(records, "part")
    folded = unfolded(records)
    base = folded.transform_filter(f"(datum.setting === first || datum.setting === second) && {narrowed}")
    base = head_scatter.with_kinds(base)
    base.data = alt.Undefined  # it stands above all four, once
    row = alt.hconcat(*(_scatter(base, side) for side in _SIDES), spacing=26).resolve_scale(color="shared")
    above = [row] if any(record["importance"] for record in records) else []
    below = alt.hconcat(_distribution(base), _same_head(base), spacing=26).resolve_scale(color="independent")
    return [
        alt.vconcat(*above, below, data=folded.data, spacing=26)
        .resolve_scale(color="independent", shape="independent")
        .properties(
            description="Two settings side by side: importance against update, updates, head by head."
        )
        .add_params(*params, *parts)
    ]


def _record(one: SettingHeads) -> dict[str, Any] | None:
    update, importance = one.get("update_relative"), one.get(one.before)
    if update is None:
        return None
    none: dict[str, Any] = {"importance": [], "case": []}
    about = none if importance is None else head_scatter.columns(importance, update)
    place = {"setting": one.setting, "group": one.group, "part": one.part} | heads.places(update.shape)
    return place | about | {"update_relative": column(update.ravel())}


def _other(records: Sequence[dict[str, Any]]) -> str:
    """The first setting of the second group; of one group, its second setting."""
    first = records[0]
    another = [r["setting"] for r in records if r["group"] != first["group"]]
    return (another or [r["setting"] for r in records if r["setting"] != first["setting"]])[0]


def _scatter(base: alt.Chart, side: str) -> alt.Chart:
    return (
        base.transform_filter(f"datum.setting === {side} && isValid(datum.importance)")
        .mark_point(filled=True, opacity=0.85)
        .encode(
            x=alt.X("importance:Q", title="importance before tuning", scale=head_scatter.OPEN),
            y=alt.Y("update_relative:Q", title=_UPDATE, scale=head_scatter.OPEN, axis=head_scatter.FEW),
            **head_scatter.by_kind(),
            tooltip=[
                alt.Tooltip("setting:N"),
                alt.Tooltip("layer:Q"),
                alt.Tooltip("head:Q"),
                alt.Tooltip("kind:N", title="case"),
                alt.Tooltip("importance:Q", format=".3~g"),
                alt.Tooltip("update_relative:Q", title="relative update", format=".3~g"),
            ],
        )
        .properties(width=_SIZE, height=_SIZE, title=alt.Title(alt.expr(side)))
    )


def _distribution(base: alt.Chart) -> alt.Chart:
    colours = alt.Scale(domain=[alt.expr(side) for side in _SIDES], range=list(theme.COLOURS[:2]))
    return (
        base.transform_filter("isValid(datum.update_relative)")
        .mark_bar(opacity=0.6)
        .encode(
            x=alt.X(
                "update_relative:Q",
                bin=alt.Bin(maxbins=24),
                title=_UPDATE,
                axis=alt.Axis(format=".3~g", tickCount=5),
            ),
            y=alt.Y("count():Q", stack=None, title="heads", axis=alt.Axis(tickMinStep=1, tickCount=5)),
            color=alt.Color("setting:N", scale=colours),
            tooltip=[alt.Tooltip("setting:N"), alt.Tooltip("count():Q", title="heads")],
        )
        .properties(width=_SIZE, height=_SIZE, title="how far they moved")
    )


def _same_head(base: alt.Chart) -> theme.Layers:
    both = (
        base.transform_calculate(
            first_update="datum.setting === first ? datum.update_relative : null",
            second_update="datum.setting === second ? datum.update_relative : null",
        )
        .transform_aggregate(x="max(first_update)", y="max(second_update)", groupby=["layer", "head"])
        .transform_filter("isValid(datum.x) && isValid(datum.y)")
    )
    dots = both.mark_point(filled=True, size=46, opacity=0.85, color=theme.COLOURS[2]).encode(
        x=alt.X("x:Q", title=f"{_UPDATE}, first", scale=alt.Scale(padding=10), axis=head_scatter.FEW),
        y=alt.Y("y:Q", title=f"{_UPDATE}, second", scale=alt.Scale(padding=10), axis=head_scatter.FEW),
        tooltip=[
            alt.Tooltip("layer:Q"),
            alt.Tooltip("head:Q"),
            alt.Tooltip("x:Q", title="first", format=".3~g"),
            alt.Tooltip("y:Q", title="second", format=".3~g"),
        ],
    )
    equal = (
        both.transform_aggregate(x="max(x)", y="max(y)")
        .transform_calculate(end="min(datum.x, datum.y)", start="0")
        .mark_rule(strokeDash=[4, 4], color=theme.REFERENCE)
        .encode(x=alt.X("start:Q"), y=alt.Y("start:Q"), x2="end:Q", y2="end:Q")
    )
    return alt.layer(equal, dots, width=_SIZE, height=_SIZE, title="the same head in both")
