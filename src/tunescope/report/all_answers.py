"""All answers of a study in one figure: a row for each, its effect with the 95 % interval."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from tunescope.report import formats, theme
from tunescope.report.columns import digits
from tunescope.report.figure import Figure, drawn
from tunescope.stats.finding import Effect
from tunescope.stats.verdict import Answer

FEWEST = 2  # answers; one alone has its own chart beside it
_CUT = 64  # letters of a question
_STEP = 40
_WIDE = 10.0  # beyond it, effects stand on a scale that is straight near zero and logarithmic further out
STANDARDISED = "difference, in standard deviations"
CORRELATION = "correlation (rho, r, tau)"
VERDICTS = {"yes": ("circle", "#1f9a63"), "no": ("diamond", "#d1453f"), "unclear": ("square", "#8b8100")}


def answer_figures(answers: Sequence[Answer]) -> tuple[Figure, ...]:
    """The figure of all answers, left out where fewer than two have an interval."""
    charts = all_answers(answers)
    if not charts:
        return ()
    shown = sum(len(chart["values"]) for chart in _panels(answers))
    left = len(answers) - shown
    caption = (
        "A row for each answer, in their order and by their numbers: its effect, and the 95 % interval. "
        "Green circle: yes. Red diamond: no. Brown square: unclear. The line is at no effect. Effects of "
        "different kinds stand in panels of their own, differences as Hedges' g or Cohen's d where there is "
        "one; sizes compare within a panel, and the verdict is about the claim of its question, which may "
        "point either way."
        + (f" Without an interval, so not here: {left} of {len(answers)} answers." if left else "")
    )
    return (drawn("all-answers", "All answers at once", caption, False, charts),)


def all_answers(answers: Sequence[Answer]) -> list[theme.Layers]:
    """A panel for each kind of effect."""
    panels = _panels(answers)
    if sum(len(panel["values"]) for panel in panels) < FEWEST:
        return []
    return [_chart(panel["kind"], panel["values"]) for panel in panels]


def _panels(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for kind, record in _records(answers):
        found.setdefault(kind, []).append(record)
    first = (STANDARDISED, CORRELATION)
    kinds = [*(kind for kind in first if kind in found), *(kind for kind in found if kind not in first)]
    return [{"kind": kind, "values": found[kind]} for kind in kinds]


def _records(answers: Sequence[Answer]) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, answer in enumerate(answers, 1):
        effect = next((e for e in (answer.standardised, answer.effect) if e and _ends(e)), None)
        if effect is None or answer.verdict not in VERDICTS:
            continue
        low, high = _ends(effect) or (0.0, 0.0)
        ask = f"{place}. {answer.question.ask}"
        yield (
            _kind(effect),
            {
                "row": place,
                "question": ask if len(ask) <= _CUT else ask[: _CUT - 1].rstrip() + "…",
                "verdict": answer.verdict,
                "effect": formats.effect(effect),
                "value": digits(effect.value),
                "low": digits(low),
                "high": digits(high),
                "runs": answer.n,
                "sentence": answer.sentence,
            },
        )


def _ends(effect: Effect) -> tuple[float, float] | None:
    if effect.low is None or effect.high is None:
        return None
    ends = (effect.low, effect.high)
    return ends if all(map(math.isfinite, (effect.value, *ends))) else None


def _kind(effect: Effect) -> str:
    name = effect.name.lower()
    if name.startswith(("hedges", "cohen")):
        return STANDARDISED
    if any(word in name for word in ("rho", "pearson", "kendall's tau", "correlation")):
        return CORRELATION
    unit = effect.unit if effect.unit not in ("", "1") else ""
    return f"{effect.name}, {unit}" if unit else effect.name


def _chart(kind: str, values: list[dict[str, Any]]) -> theme.Layers:
    shown = [verdict for verdict in VERDICTS if any(value["verdict"] == verdict for value in values)]
    shapes, colours = zip(*(VERDICTS[verdict] for verdict in shown), strict=True)
    far = max(abs(value[end]) for value in values for end in ("low", "high"))
    scale = alt.Scale(type="symlog", constant=1) if far > _WIDE else alt.Scale(zero=True, padding=10)
    y = alt.Y("row:O", title=None, axis=None, scale=alt.Scale(paddingInner=0))
    colour = alt.Color(
        "verdict:N", scale=alt.Scale(domain=shown, range=list(colours)), legend=alt.Legend(symbolOpacity=1)
    )
    rows = alt.Chart(alt.Data(values=values)).encode(y=y)
    told = [
        alt.Tooltip("question:N"),
        alt.Tooltip("verdict:N"),
        alt.Tooltip("effect:N"),
        alt.Tooltip("runs:Q"),
        alt.Tooltip("sentence:N"),
    ]
    zero = alt.Chart(alt.Data(values=[{"none": 0}])).mark_rule(strokeDash=[4, 4], color=theme.REFERENCE)
    axis = alt.Axis(grid=False, tickCount=6, format="~f", labelOverlap="greedy")
    spread = rows.mark_rule(strokeWidth=3, opacity=0.55, strokeCap="round", yOffset=8)
    middle = rows.mark_point(filled=True, size=90, opacity=1, yOffset=8)
    words = rows.mark_text(
        align="left", baseline="middle", fontSize=11, color=theme.REFERENCE, dy=-9, limit=alt.ExprRef("width")
    )
    return alt.layer(
        zero.encode(x=alt.X("none:Q")),
        spread.encode(
            x=alt.X("low:Q", title=None, scale=scale, axis=axis), x2="high:Q", color=colour, tooltip=told
        ),
        middle.encode(
            x=alt.X("value:Q"),
            color=colour,
            shape=alt.Shape("verdict:N", scale=alt.Scale(domain=shown, range=list(shapes))),
            tooltip=told,
        ),
        words.encode(x=alt.value(0), text=alt.Text("question:N"), tooltip=told),
        width="container",
        height=_STEP * len(values),
        title=kind,
        description=f"Forest plot of answers by {kind}: effect, 95 % interval and verdict of each.",
    )
