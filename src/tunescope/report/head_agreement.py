"""How alike settings rank the heads: a matrix with each setting's agreement with itself on its diagonal."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from tunescope.report import heads, theme
from tunescope.report.choice import choices
from tunescope.report.columns import known
from tunescope.stats.head_agreement import agreements
from tunescope.stats.headwise import RunHeads

QUANTITIES = {
    "importance": "importance",
    "importance_pre": "importance before tuning",
    "importance.base": "importance before tuning",
    "update_relative": "relative update",
    "plasticity.attention": "plasticity",
}
SETTINGS_AT_MOST = 12


def between_settings(found: Sequence[RunHeads]) -> list[theme.Layers]:
    """Kendall's τ between the rankings of heads of every two settings, by quantity."""
    settings = list(dict.fromkeys(run.setting for run in found))[:SETTINGS_AT_MOST]
    if len(settings) < 2:
        return []
    shown = [run for run in found if run.setting in settings]
    records: list[dict[str, Any]] = []
    for quantity, name in QUANTITIES.items():
        for one in agreements(shown, quantity):
            part = heads.part_of(one.tower, one.component)
            for pair in one.pairs:
                ends = (pair.kendall.value, pair.kendall.low, pair.kendall.high)
                numbers = dict(zip(("tau", "low", "high"), map(known, ends), strict=True))
                place = {"quantity": name, "part": part, "first": pair.first, "second": pair.second}
                records.append(place | numbers | {"seeds": pair.seeds})
    if not any(record["first"] != record["second"] for record in records):
        return []
    params, narrowed = choices(records, "quantity", "part")
    base = alt.Chart().transform_filter(narrowed)
    side = alt.Scale(domain=settings)
    base = base.encode(
        x=alt.X("first:N", title=None, sort=settings, scale=side, axis=alt.Axis(labelAngle=-40, grid=False)),
        y=alt.Y("second:N", title=None, sort=settings, scale=side, axis=alt.Axis(grid=False)),
    )
    cells = base.mark_rect().encode(
        color=alt.Color(
            "tau:Q",
            scale=alt.Scale(
                domain=[-1, 0, 1], range=[theme.FALL, theme.STILL, theme.RISE], interpolate="rgb"
            ),
            legend=alt.Legend(title="Kendall's τ", gradientLength=200, gradientThickness=10),
        ),
        tooltip=[
            alt.Tooltip("first:N"),
            alt.Tooltip("second:N"),
            *(alt.Tooltip(f"{name}:Q", title=title, format=".2f") for name, title in _TOLD),
            alt.Tooltip("seeds:Q"),
        ],
    )
    numbers = base.mark_text(fontSize=10).encode(
        text=alt.Text("tau:Q", format=".2f"),
        color=alt.condition("abs(datum.tau) > 0.7", alt.value("#ffffff"), alt.value("#2a2c30")),
    )
    chart = alt.layer(
        cells,
        numbers,
        data=alt.Data(values=records),
        width=alt.Step(44),
        height=alt.Step(26),
        description="Matrix of settings: how alike they rank the attention heads.",
    )
    return [chart.add_params(*params)]


_TOLD = (("tau", "Kendall's τ"), ("low", "from"), ("high", "to"))
