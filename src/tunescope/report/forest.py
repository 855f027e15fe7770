"""The chart beside an answer: the very numbers that its test was made on."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from tunescope.report import theme
from tunescope.report.frames import short
from tunescope.report.predictors import predictors
from tunescope.report.titles import title
from tunescope.stats.finding import GroupSummary
from tunescope.stats.verdict import Answer
from tunescope.study.question import Measured


def evidence(answer: Answer, groups: Sequence[str]) -> theme.Layers | None:
    """Means with intervals and the runs behind them, values against the factor or the other number that was
    asked about, or what each of several numbers predicts.

    Args:
        answer: one answer.
        groups: every group of the study, in order, for their colours.

    Returns:
        None where no run had a value.
    """
    if not any(group.values for group in answer.groups):
        return None
    if answer.question.predictors is not None:
        return predictors(answer)
    if not answer.question.parted:
        return _scatter(answer, groups)
    return _forest(answer, [group.name for group in answer.groups] if answer.question.by_depth else groups)


def _axis(answer: Answer) -> str:
    unit = answer.effect.unit if answer.effect and answer.question.parted else ""
    name = _named(answer.question.measured)
    return f"{name} ({unit})" if unit and unit != "1" else name


def _named(number: Measured) -> str:
    return number.name or title(number.metric, number.where, number.reduce)


def _label(group: GroupSummary) -> str:
    chosen = ", ".join(f"{key}={short(value)}" for key, value in group.chosen.items() if value is not None)
    return f"{group.name} ({chosen})" if chosen else group.name


def _described(factors: Any) -> str:
    return " ".join(f"{key}={short(value)}" for key, value in factors.items() if value is not None)


def _forest(answer: Answer, groups: Sequence[str]) -> theme.Layers:
    shown = [group for group in answer.groups if group.values]
    order = [_label(group) for group in shown]
    dots = [
        {"label": _label(group), "group": group.name, "run": _described(factors), "value": value}
        for group in shown
        for value, factors in zip(group.values, group.factors, strict=True)
    ]
    means = [
        {
            "label": _label(group),
            "group": group.name,
            "mean": group.mean,
            "low": group.low,
            "high": group.high,
        }
        for group in shown
        if group.mean is not None
    ]
    ends = [mean for mean in means if mean["low"] is not None and mean["high"] is not None]
    drawn = [dot["value"] for dot in dots] + [mean[end] for mean in ends for end in ("low", "high")]
    y = alt.Y("label:N", sort=order, title=None, axis=alt.Axis(grid=False, labelLimit=150))
    colour = theme.colour(groups, [group.name for group in shown], legend=None)
    summary = alt.Chart(alt.Data(values=means)).encode(y=y, color=colour)
    spread = (
        alt.Chart(alt.Data(values=ends))
        .mark_rule(strokeWidth=7, opacity=0.28, strokeCap="round")
        .encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"), y=y, color=colour)
    )
    middle = summary.mark_tick(thickness=3, size=20).encode(
        x=alt.X("mean:Q"),
        tooltip=[
            alt.Tooltip("label:N"),
            *(alt.Tooltip(f"{name}:Q", format=".4~g") for name in ("mean", "low", "high")),
        ],
    )
    runs = (
        alt.Chart(alt.Data(values=dots))
        .mark_point(size=34, strokeWidth=1.4, filled=False, opacity=0.9)
        .encode(
            x=alt.X(
                "value:Q",
                title=_axis(answer),
                axis=alt.Axis(tickCount=5, grid=True),
                scale=alt.Scale(zero=False, padding=8, domain=_domain(drawn)),
            ),
            y=y,
            color=colour,
            tooltip=[alt.Tooltip("label:N"), alt.Tooltip("run:N"), alt.Tooltip("value:Q", format=".4~g")],
        )
    )
    return alt.layer(
        *([spread] if ends else []),
        middle,
        runs,
        width="container",
        height=36 * len(shown),
        description=f"{_axis(answer)}: mean, 95 % interval and every run of {', '.join(order)}.",
    )


def _domain(values: Sequence[float]) -> Any:
    """Room on both sides of a value that stands alone; otherwise the values decide."""
    low, high = min(values), max(values)
    room = abs(low) / 4 or 1.0
    return [low - room, high + room] if low == high else alt.Undefined


def _scatter(answer: Answer, groups: Sequence[str]) -> theme.Layers | None:
    against, by = answer.question.against or "", answer.question.by
    records = [
        {"group": group.name, "run": _described(factors), "x": x, "value": value}
        for group in answer.groups
        for value, factors, x in zip(
            group.values,
            group.factors,
            group.by if by else [factors.get(against) for factors in group.factors],
            strict=True,
        )
        if isinstance(x, (int, float))
    ]
    if not records:
        return None
    places = sorted({record["x"] for record in records})
    wide = places[0] > 0 and places[-1] / places[0] >= 10
    drawn = [record["group"] for record in records]
    other = _named(by) if by else against
    values = alt.Undefined if by else places[:: -(-len(places) // 6)]  # a factor has few values: those
    dots = (
        alt.Chart(alt.Data(values=records))
        .mark_point(size=40, strokeWidth=1.4, filled=False, opacity=0.9)
        .encode(
            x=alt.X(
                "x:Q",
                title=other,
                scale=alt.Scale(type="log", padding=12, nice=False)
                if wide
                else alt.Scale(zero=False, padding=12),
                axis=alt.Axis(
                    values=values,
                    format="~e" if wide else "~g",
                    labelOverlap="greedy",
                    labelSeparation=6,
                ),
            ),
            y=alt.Y("value:Q", title=_axis(answer), axis=alt.Axis(tickCount=5), scale=alt.Scale(zero=False)),
            color=theme.colour(groups, drawn),
            shape=theme.shape(groups, drawn),
            tooltip=[
                alt.Tooltip("group:N"),
                alt.Tooltip("run:N"),
                *([alt.Tooltip("x:Q", format=".4~g", title=other)] if by else []),
                alt.Tooltip("value:Q", format=".4~g"),
            ],
        )
    )
    return alt.layer(
        dots, width="container", height=180, description=f"{_axis(answer)} of every run, against {other}."
    )
