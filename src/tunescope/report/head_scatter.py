"""What matters against what moved: one dot for each head."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from tunescope.report import heads, theme
from tunescope.report.choice import choices
from tunescope.report.columns import column, known, unfolded
from tunescope.report.heads import SettingHeads
from tunescope.stats.head_cases import Cases, cases

STATIC, PLASTIC, OTHER = "important but static", "plastic but unimportant", "other heads"
KINDS = {STATIC: theme.COLOURS[6], PLASTIC: theme.COLOURS[0], OTHER: theme.REFERENCE}
SHAPES = {STATIC: "diamond", PLASTIC: "triangle-up", OTHER: "circle"}


def against_update(found: Sequence[SettingHeads]) -> list[theme.Layers]:
    """Importance against relative update, with quartiles, the heads that go against the rule, and ρ."""
    dots: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    for one in found:
        update = one.get("update_relative")
        if update is None:
            continue
        for when, quantity in (("before tuning", one.before), ("after tuning", "importance")):
            importance = one.get(quantity)
            if importance is not None:
                against = cases(importance, update)
                place = {"setting": one.setting, "part": one.part, "when": when}
                dots.append(place | _columns(importance, update, against))
                lines.append(place | _quartiles(against, one.runs))
    if not dots:
        return []
    params, narrowed = choices(dots, "setting", "part", "when")
    base = with_kinds(unfolded(dots).transform_filter(narrowed))
    marks = base.mark_point(filled=True, opacity=0.85).encode(
        x=alt.X("importance:Q", title="importance: how much the loss rises without it", scale=OPEN, axis=FEW),
        y=alt.Y("update_relative:Q", title="relative update", scale=OPEN, axis=FEW),
        **by_kind(),
        tooltip=[
            alt.Tooltip("setting:N"),
            alt.Tooltip("layer:Q"),
            alt.Tooltip("head:Q"),
            alt.Tooltip("kind:N", title="case"),
            alt.Tooltip("importance:Q", format=".3~g"),
            alt.Tooltip("update_relative:Q", title="relative update", format=".3~g"),
        ],
    )
    quarter = alt.Chart(alt.Data(values=lines)).transform_filter(narrowed)
    rule = quarter.mark_rule(strokeDash=[4, 4], color=theme.REFERENCE, opacity=0.8)
    told = quarter.mark_text(
        align="right",
        baseline="line-bottom",
        fontSize=11,
        lineBreak="\n",
        lineHeight=13,
        color=theme.REFERENCE,
    )
    return [
        alt.layer(
            *(rule.encode(x=alt.X(f"importance_{end}:Q")) for end in ("low", "high")),
            *(rule.encode(y=alt.Y(f"update_{end}:Q")) for end in ("low", "high")),
            marks,
            told.encode(x=alt.value("width"), y=alt.value(-30), text=alt.Text("told:N")),
            width="container",
            height=340,
            description="Scatter of attention heads: importance against relative update, quartiles dashed.",
        ).add_params(*params)
    ]


OPEN = alt.Scale(zero=False, nice=False, padding=14)
_KINDS = alt.Legend(columns=1)
FEW = alt.Axis(tickCount=6, format=".3~g")


def with_kinds(chart: alt.Chart) -> alt.Chart:
    """Heads that are no case are the others; records do not name them one by one."""
    return chart.transform_calculate(kind=f"datum.case || '{OTHER}'")


def by_kind() -> dict[str, Any]:
    """Colour, shape and size of a head by its case."""
    ranges = (list(KINDS.values()), list(SHAPES.values()))
    colour, shape = (alt.Scale(domain=list(KINDS), range=values) for values in ranges)
    return {
        "color": alt.Color("kind:N", scale=colour, legend=_KINDS),
        "shape": alt.Shape("kind:N", scale=shape, legend=_KINDS),
        "size": alt.condition(f"datum.kind === '{OTHER}'", alt.value(46), alt.value(95)),
    }


def columns(importance: np.ndarray, update: np.ndarray) -> dict[str, Any]:
    """The columns of a scatter of importance against update."""
    return _columns(importance, update, cases(importance, update))


def _columns(importance: np.ndarray, update: np.ndarray, against: Cases) -> dict[str, Any]:
    kind = {(case.layer, case.head): STATIC for case in against.important_but_static}
    kind |= {(case.layer, case.head): PLASTIC for case in against.plastic_but_unimportant}
    return heads.places(importance.shape) | {
        "importance": column(importance.ravel()),
        "update_relative": column(update.ravel()),
        "case": [kind.get((layer, head)) for layer, head in np.ndindex(importance.shape)],
    }


def _quartiles(against: Cases, runs: int) -> dict[str, Any]:
    names = ("importance_low", "importance_high", "update_low", "update_high")
    ends = (*(against.importance or (None, None)), *(against.update_relative or (None, None)))
    static, plastic = len(against.important_but_static), len(against.plastic_but_unimportant)
    told = [
        f"{static}, {against.expected[0]:.2g} by chance",
        f"{plastic}, {against.expected[1]:.2g} by chance",
        f"means of {runs} runs" if runs > 1 else "one run",
    ]
    return dict(zip(names, map(known, ends), strict=True)) | {"told": "\n".join(told)}


def before_after(found: Sequence[SettingHeads]) -> list[theme.Layers]:
    """Importance before tuning against after it; on the diagonal nothing changed."""
    dots: list[dict[str, Any]] = []
    ends: list[dict[str, Any]] = []
    for one in found:
        before, after = one.get(one.before), one.get("importance")
        if before is None or after is None:
            continue
        place = {"setting": one.setting, "part": one.part}
        values = {"before": column(before.ravel()), "after": column(after.ravel())}
        dots.append(place | heads.places(before.shape) | values)
        both = np.concatenate([before.ravel(), after.ravel()])
        finite = both[np.isfinite(both)]
        if finite.size:
            ends += [
                place | {"before": float(end), "after": float(end)} for end in (finite.min(), finite.max())
            ]
    if not ends:
        return []
    params, narrowed = choices(dots, "setting", "part")
    layers = max(max(record["layer"]) for record in dots)
    diagonal = (
        alt.Chart(alt.Data(values=ends))
        .transform_filter(narrowed)
        .mark_line(strokeDash=[4, 4], color=theme.REFERENCE)
        .encode(x=alt.X("before:Q"), y=alt.Y("after:Q"))
    )
    marks = (
        unfolded(dots)
        .transform_filter(narrowed)
        .mark_point(filled=True, size=52, opacity=0.85)
        .encode(
            x=alt.X("before:Q", title="importance before tuning", scale=OPEN, axis=FEW),
            y=alt.Y("after:Q", title="importance after tuning", scale=OPEN, axis=FEW),
            color=theme.by_layer(layers),
            tooltip=[
                alt.Tooltip("setting:N"),
                alt.Tooltip("layer:Q"),
                alt.Tooltip("head:Q"),
                alt.Tooltip("before:Q", format=".3~g"),
                alt.Tooltip("after:Q", format=".3~g"),
            ],
        )
    )
    return [
        alt.layer(
            diagonal,
            marks,
            width="container",
            height=340,
            description="Scatter of attention heads: importance before tuning against importance after it.",
        ).add_params(*params)
    ]
