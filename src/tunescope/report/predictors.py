"""The chart beside an answer about several predictors: how well each does, by every reading."""

from collections.abc import Iterator
from typing import Any

import altair as alt

from tunescope.report import theme
from tunescope.stats.finding import Prediction
from tunescope.stats.prediction_words import fixed
from tunescope.stats.verdict import Answer

LOWEST = -1.0  # a skill below it is drawn here: it may be as far below as it likes
ROW = 66  # pixels of one predictor


def predictors(answer: Answer) -> theme.Layers | None:
    """A row for each number, the largest |ρ| over all runs on top: |ρ| with its interval, and other readings.

    Args:
        answer: of a question with `predictors`.

    Returns:
        None where nothing was found.
    """
    if not answer.predictions:
        return None
    readings = _readings(answer)
    records = [record for each in answer.predictions for record in _records(each, readings)]
    ends = [record for record in records if "low" in record]
    order = [each.name for each in answer.predictions]
    drawn = [name for name in readings if any(record["reading"] == name for record in records)]
    # a name stands above its row: beside it, a long one would leave a narrow page no room for the marks
    above = alt.Axis(
        grid=False,
        labelAlign="left",
        labelPadding=-4,
        labelOffset=-0.37 * ROW,
        labelLimit=330,
        labelFontWeight=600,
    )
    y = alt.Y("predictor:N", sort=order, title=None, axis=above)
    offset = alt.YOffset("reading:N", sort=drawn, scale=alt.Scale(paddingInner=0.2, paddingOuter=1.0))
    colours, shapes = (
        alt.Scale(domain=drawn, range=list(values[: len(drawn)])) for values in (theme.COLOURS, theme.SHAPES)
    )
    legend = alt.Legend(columns=2, symbolOpacity=1)
    colour = alt.Color("reading:N", scale=colours, legend=legend)
    shape = alt.Shape("reading:N", scale=shapes, legend=legend)
    least = min(0.0, *(record["shown"] for record in records))
    x = alt.X(
        "shown:Q",
        title="|rho|, or skill where groups are left out",
        scale=alt.Scale(domain=[least, 1.0], nice=False),
        axis=alt.Axis(tickCount=6, grid=True),
    )
    spread = (
        alt.Chart(alt.Data(values=ends))
        .mark_rule(strokeWidth=5, opacity=0.3, strokeCap="round")
        .encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"), y=y, yOffset=offset, color=colour)
    )
    marks = (
        alt.Chart(alt.Data(values=records))
        .mark_point(size=44, strokeWidth=1.4, filled=True, opacity=0.95)
        .encode(
            x=x,
            y=y,
            yOffset=offset,
            color=colour,
            shape=shape,
            tooltip=[
                alt.Tooltip("predictor:N"),
                alt.Tooltip("reading:N"),
                alt.Tooltip("value:Q", format=".3g"),
                alt.Tooltip("means:N"),
            ],
        )
    )
    return alt.layer(
        *([spread] if ends else []),
        marks,
        width="container",
        height=ROW * len(order),
        description=f"How well each of {', '.join(order)} predicts {answer.question.measured.called}: "
        f"{', '.join(drawn)}.",
    )


def _readings(answer: Answer) -> tuple[str, ...]:
    return ("over all runs", "within groups, mean", fixed(answer.held).lstrip(), "groups left out, skill")


def _records(found: Prediction, readings: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    overall, within, given, left_out = readings
    low, high = found.rho.low, found.rho.high
    first = _record(found, overall, found.rho.value, "rho")
    if low is not None and high is not None:
        crosses = low < 0 < high
        sizes = (abs(low), abs(high))
        first |= {"low": 0.0 if crosses else min(sizes), "high": max(sizes)}
    yield first
    if found.within is not None:
        own = ", ".join(f"{name} {rho:.2g}" for name, rho in found.groups.items())
        yield _record(found, within, found.within, f"|rho|: {own}")
    if found.given is not None:
        yield _record(found, given, found.given, "rho")
    if found.skill is not None:
        yield _record(found, left_out, found.skill, "1: always right, 0: as good as the mean of the others")


def _record(found: Prediction, reading: str, value: float, means: str) -> dict[str, Any]:
    shown = max(LOWEST, value) if means.startswith("1:") else abs(value)
    return {"predictor": found.name, "reading": reading, "shown": shown, "value": value, "means": means}
