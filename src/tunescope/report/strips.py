"""Panels side by side, a line for each name: every run a dot, their mean, and its interval over runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from tunescope.report import theme
from tunescope.report.choice import choices
from tunescope.report.columns import column, digits, known, unfolded
from tunescope.stats.run_mean import run_mean

DOTS_AT_MOST = 600  # of one panel; of more runs, means and intervals alone are drawn
_WIDTH, _STEP = 205, 21
_ENDS = {"left": "low", "right": "high"}


@dataclass(frozen=True)
class Strip:
    """One number of several runs.

    Args:
        panel: the quantity, as the panel's title.
        line: the panel's line that it stands in.
        part: which part of the model it is of.
        group: of the runs; decides their colour.
        runs: name and number of each run.
        within: the smallest and the largest value that there can be.
        chance: what it would be by chance; None = there is no telling.
    """

    panel: str
    line: str
    part: str
    group: str
    runs: Sequence[tuple[str, float]]
    within: tuple[float, float]
    chance: float | None = None


def strips(
    found: Sequence[Strip], groups: Sequence[str], description: str, reference: float | None = None
) -> list[alt.HConcatChart]:
    """The panels in order of first appearance; nothing of no numbers. Beyond `DOTS_AT_MOST`, no runs.

    Args:
        found: what to draw.
        groups: every group of the study, in order, for their colours.
        description: for those who do not see the chart.
        reference: where every panel has a dashed line; None = nowhere.
    """
    found = [strip for strip in found if strip.runs]
    if not found:
        return []
    lines = list(dict.fromkeys(strip.line for strip in found))
    params, narrowed = choices([{"part": strip.part} for strip in found], "part")
    panels = [
        _panel(
            [strip for strip in found if strip.panel == title],
            lines,
            groups,
            narrowed,
            reference,
            first=not place,
        )
        for place, title in enumerate(dict.fromkeys(strip.panel for strip in found))
    ]
    chart = alt.hconcat(*panels, spacing=22).properties(description=description)
    return [chart.add_params(*params)]


def _panel(
    found: Sequence[Strip],
    lines: Sequence[str],
    groups: Sequence[str],
    narrowed: str,
    reference: float | None,
    *,
    first: bool,
) -> theme.Layers:
    means, dots = [], []
    for strip in found:
        place: dict[str, Any] = {"line": strip.line, "part": strip.part, "group": strip.group}
        effect = run_mean(strip.panel, [value for _, value in strip.runs], strip.within)
        if effect is not None:
            ends = {"low": known(effect.low), "high": known(effect.high), "chance": known(strip.chance)}
            means.append(place | {"mean": digits(effect.value), "runs": len(strip.runs)} | ends)
        if sum(len(each.runs) for each in found) > DOTS_AT_MOST:
            continue
        names, values = zip(*strip.runs, strict=True)
        dots.append(place | {"run": list(names), "value": column(values)})
    axis = alt.Axis(grid=False) if first else alt.Axis(grid=False, labels=False)
    y = alt.Y("line:N", sort=list(lines), scale=alt.Scale(domain=list(lines)), title=None, axis=axis)
    colour = theme.colour(groups, [strip.group for strip in found], legend=None)

    def over(chart: alt.Chart) -> alt.Chart:
        return chart.transform_filter(narrowed).encode(y=y)

    # without an interval the bar has no width and is not seen; a layer without records would have no scale
    ends = {end: f"isValid(datum.{of}) ? datum.{of} : datum.mean" for end, of in _ENDS.items()}
    summary = alt.Chart(alt.Data(values=means))
    spread = over(summary.transform_calculate(**ends)).mark_rule(strokeWidth=7, strokeCap="round")
    middle = over(summary).mark_tick(thickness=3, size=16)
    layers = [
        spread.encode(
            x=alt.X("left:Q"),
            x2="right:Q",
            color=colour,
            opacity=alt.condition("isValid(datum.low)", alt.value(0.28), alt.value(0)),
        ),
        middle.encode(
            x=alt.X(
                "mean:Q",
                title=None,
                scale=alt.Scale(zero=True, padding=8),
                axis=alt.Axis(grid=True, tickCount=4, format=".3~g"),
            ),
            color=colour,
            tooltip=[
                alt.Tooltip("line:N"),
                *(alt.Tooltip(f"{name}:Q", format=".3~g") for name in ("mean", "low", "high")),
                alt.Tooltip("runs:Q"),
            ],
        ),
    ]
    if any(mean["chance"] is not None for mean in means):
        chance = over(summary).transform_filter("isValid(datum.chance)")
        chance = chance.mark_tick(thickness=1.5, size=_STEP, color=theme.REFERENCE)
        told = alt.Tooltip("chance:Q", title="by chance", format=".3~g")
        layers.insert(0, chance.encode(x=alt.X("chance:Q"), tooltip=[told]))
    if reference is not None:
        rule = alt.Chart(alt.Data(values=[{"reference": reference}]))
        rule = rule.mark_rule(strokeDash=[4, 4], color=theme.REFERENCE)
        layers.insert(0, rule.encode(x=alt.X("reference:Q")))
    if dots:
        runs = over(unfolded(dots)).mark_point(size=30, strokeWidth=1.4, opacity=0.9)
        told = [alt.Tooltip("run:N"), alt.Tooltip("value:Q", format=".3~g")]
        layers.append(runs.encode(x=alt.X("value:Q"), color=colour, tooltip=told))
    return alt.layer(*layers, width=_WIDTH, height=alt.Step(_STEP), title=found[0].panel)
