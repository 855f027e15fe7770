"""What travels between server and clients, and what it brings."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.report import frames, theme
from tunescope.report.columns import digits, unfolded
from tunescope.report.federated_numbers import Curve, Series, federated, series, summary, together
from tunescope.report.federated_rounds import HEIGHT, SCORES, SETTINGS_AT_MOST
from tunescope.report.log_axis import log_axis
from tunescope.report.quality import PERCENT, quality

if TYPE_CHECKING:
    from tunescope.results.table import Table

SHARE = "federated.traffic"
MB = 1e6
_STEP = 21


def traffic(table: "Table") -> list[theme.Layers]:
    """Megabytes a round, their share of full fine-tuning's, and the score against all that has travelled."""
    runs = federated(table)
    down = {one.run.id: one for one in series(table, runs, "federated.bytes_down")}
    both = [
        Series(up.run, "", {n: (own + down[up.run.id].curve.get(n, 0.0)) / MB for n, own in up.curve.items()})
        for up in series(table, runs, "federated.bytes_up")
        if up.run.id in down
    ]
    charts = (
        _strip(table, both, "megabytes a round, all clients, both ways", ",.3~g"),
        _strip(table, series(table, runs, SHARE), "share of full fine-tuning's traffic", ".3~%", whole=1.0),
        _reached(table, runs, both),
    )
    return [chart for chart in charts if chart is not None]


def _strip(
    table: "Table", found: Sequence[Series], title: str, form: str, whole: float | None = None
) -> theme.Layers | None:
    """A line for each setting: its runs, each the mean of its rounds, and their mean."""
    cells = together(found, SETTINGS_AT_MOST)
    values = [
        (name, one.run, frames.mean(list(one.curve.values()))) for name, own in cells.items() for one in own
    ]
    values = [(name, run, value) for name, run, value in values if value > 0]
    if not values:
        return None
    ends = [value for _, _, value in values] + ([whole] if whole else [])
    records = [
        {"setting": name, "group": run.group, "run": run.name, "value": digits(value)}
        for name, run, value in values
    ]
    axis = log_axis(min(ends), max(ends))
    axis.format = form
    x = alt.X("value:Q", title=None, axis=axis, scale=alt.Scale(type="log", padding=8, nice=False))
    y = alt.Y("setting:N", sort=list(cells), title=None, axis=alt.Axis(grid=False, labelLimit=150))
    written = ".2%" if form.endswith("%") else ",.4~g"
    base = alt.Chart(alt.Data(values=records)).encode(
        y=y,
        color=theme.colour(frames.groups(table), [record["group"] for record in records], legend=None),
    )
    layers = [
        base.mark_tick(thickness=3, size=16).encode(x=alt.X("mean(value):Q", title=None)),
        base.mark_point(size=34, strokeWidth=1.4, opacity=0.9).encode(
            x=x, tooltip=[alt.Tooltip("run:N"), alt.Tooltip("value:Q", title=title, format=written)]
        ),
    ]
    if whole is not None:
        rule = alt.Chart(alt.Data(values=[{"whole": whole}]))
        rule = rule.mark_rule(strokeDash=[4, 4], color=theme.REFERENCE)
        layers.insert(0, rule.encode(x=alt.X("whole:Q")))
    return alt.layer(
        *layers,
        width="container",
        height=_STEP * len({record["setting"] for record in records}),
        title=title,
        description=f"{title.capitalize()}: a dot for each run, a tick at the mean of a setting.",
    )


def _reached(table: "Table", runs: Sequence[Any], both: Sequence[Series]) -> theme.Layers | None:
    """The score after each round against all that has travelled until then."""
    metric = next((name for name in SCORES if name in table.metrics()), None)
    if metric is None:
        return None
    scores = {one.run.id: one.curve for one in series(table, runs, metric)}
    records: list[dict[str, Any]] = [
        {"setting": name, "group": own[0].run.group, "runs": len(own)}
        | _means([_sums(one.curve) for one in own], [scores.get(one.run.id, {}) for one in own])
        for name, own in together(both, SETTINGS_AT_MOST).items()
    ]
    records = [record for record in records if record["round"]]
    if not records:
        return None
    sums = [value for record in records for value in record["megabytes"]]
    is_share = metric == SCORES[0]
    words = "accuracy" if is_share else f"loss, {quality(table).loss}"
    form = ".1%" if is_share else ".3~g"
    groups = frames.groups(table)
    drawn = [record["group"] for record in records]
    base = unfolded(records).encode(
        x=alt.X(
            "megabytes:Q",
            title="megabytes so far, all clients, both ways",
            axis=log_axis(min(sums), max(sums)),
            scale=alt.Scale(type="log", padding=8, nice=False),
        ),
        y=alt.Y(
            "score:Q",
            title=None,
            axis=alt.Axis(format=PERCENT if is_share else ".3~g", tickCount=5),
            scale=alt.Scale(zero=False, padding=8),
        ),
        color=theme.colour(groups, drawn),
    )
    told = [
        alt.Tooltip("setting:N"),
        alt.Tooltip("round:Q"),
        alt.Tooltip("megabytes:Q", format=",.4~g"),
        alt.Tooltip("score:Q", title=f"validation {words}", format=form),
        alt.Tooltip("runs:Q"),
    ]
    return alt.layer(
        base.mark_line(strokeWidth=1.8).encode(detail="setting:N", order="round:Q"),
        base.mark_point(filled=True, size=40, opacity=1).encode(
            shape=theme.shape(groups, drawn), tooltip=told
        ),
        width="container",
        height=HEIGHT,
        title=f"validation {words}, by what has travelled",
        description=f"Validation {words} after each round against the megabytes that have travelled.",
    )


def _sums(curve: Curve) -> Curve:
    """By round, all until then."""
    total, found = 0.0, {}
    for number, value in sorted(curve.items()):
        total += value
        found[number] = total
    return found


def _means(sums: Sequence[Curve], scores: Sequence[Mapping[int, float]]) -> dict[str, list[Any]]:
    """By round: the means of both over the runs that have both."""
    reached = summary([dict(curve) for curve in scores])
    travelled = summary(
        [{n: v for n, v in own.items() if n in s} for own, s in zip(sums, scores, strict=True)]
    )
    rounds = [number for number in reached["round"] if number in travelled["round"]]
    score = dict(zip(reached["round"], reached["mean"], strict=True))
    megabytes = dict(zip(travelled["round"], travelled["mean"], strict=True))
    return {
        "round": rounds,
        "megabytes": [megabytes[number] for number in rounds],
        "score": [score[number] for number in rounds],
    }
