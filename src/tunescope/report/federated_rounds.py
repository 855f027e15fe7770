"""The global model round by round: a line for each setting, its runs and their interval."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.report import frames, theme
from tunescope.report.columns import column, digits, unfolded
from tunescope.report.federated_numbers import Curve, Series, federated, series, summary, together
from tunescope.report.frames import Run, Where
from tunescope.report.log_axis import log_axis
from tunescope.report.quality import PERCENT, quality
from tunescope.stats.run_mean import UNBOUNDED

if TYPE_CHECKING:
    from tunescope.results.table import Table

SCORES = ("training.val_acc1", "training.val_loss")
SETTINGS_AT_MOST = 24
NUMBERS_AT_MOST = 3000  # of single runs in one chart; of more, means and intervals alone are drawn
HEIGHT = 220
NEAR = 0.012  # of what the lines span: the mean distance at which one hides the other
WIDTH, STEP = 2.4, 2.6  # pixels: a line; how much wider it is for each line on it
ROUNDING = 1e-6  # an aggregation error below is that of single precision


def rounds(table: "Table") -> list[theme.Layers]:
    """Score, accuracy elsewhere, aggregation error, drift between clients, and who dropped out."""
    runs = federated(table)
    if not runs:
        return []
    metrics = set(table.metrics())
    score = next((metric for metric in SCORES if metric in metrics), None)
    charts: list[theme.Layers | None] = []
    if score is not None:
        words = "accuracy" if score == SCORES[0] else f"loss, {quality(table).loss}"
        form = PERCENT if score == SCORES[0] else ".3~g"
        title = f"validation {words} of the global model"
        charts.append(_chart(table, series(table, runs, score), title, form, _central(table, runs, score)))
    text: Where = {"component": "text", "split": "zero_shot:*"}
    for where, title in (
        (text, "zero-shot accuracy of the global model"),
        ({"component": "trained", "split": "shift:*"}, "accuracy of the global model under shift"),
    ):
        found = series(table, runs, "transfer.acc1", where)
        charts.append(_chart(table, found, title, PERCENT))
    error = series(table, runs, "federated.aggregation_error")
    charts.append(_chart(table, error, "aggregation error", ".3~g", logarithmic=True))
    drift = series(table, runs, "federated.drift")
    charts.append(_chart(table, drift, "drift between clients: mean of 1 − CKA", ".3~g"))
    dropped = series(table, runs, "federated.dropped")
    if any(value for one in dropped for value in one.curve.values()):
        charts.append(_chart(table, dropped, "clients left out of a round", "d"))
    return [chart for chart in charts if chart is not None]


def _central(table: "Table", runs: Sequence[Run], metric: str) -> list[dict[str, Any]]:
    """The last score of the settings that were tuned in one place, mean over their runs."""
    apart = {run.id for run in runs}
    central = [run for run in frames.done(table) if run.id not in apart]
    cells = together(series(table, central, metric), SETTINGS_AT_MOST)
    return [
        {
            "setting": name,
            "group": found[0].run.group,
            "central": digits(frames.mean([list(one.curve.values())[-1] for one in found])),
        }
        for name, found in cells.items()
    ]


def _chart(
    table: "Table",
    found: Sequence[Series],
    title: str,
    form: str,
    central: Sequence[dict[str, Any]] = (),
    *,
    logarithmic: bool = False,
) -> theme.Layers | None:
    values = [value for one in found for value in one.curve.values()]
    if not values:
        return None
    cells = together(found, SETTINGS_AT_MOST)
    within = (0.0, 1.0) if form == PERCENT else (0.0, UNBOUNDED[1])
    means: list[dict[str, Any]] = [
        {"setting": name, "group": own[0].run.group, "runs": len(own)}
        | summary([one.curve for one in own], within)
        for name, own in cells.items()
    ]
    single = [
        {"group": one.run.group, "run": one.run.name}
        | {"round": list(one.curve), "value": column(one.curve.values())}
        for own in cells.values()
        for one in own
        if len(own) > 1
    ]
    single = single if len(values) <= NUMBERS_AT_MOST else []
    drawn = [record["group"] for record in (*means, *central)]
    colour = theme.colour(frames.groups(table), drawn, legend=alt.Legend(symbolOpacity=1))
    last = max(number for one in found for number in one.curve)
    x = alt.X(
        "round:Q",
        axis=alt.Axis(values=list(range(1, last + 1))[:: -(-last // 10)], format="d"),
        scale=alt.Scale(nice=False, padding=10),
    )
    y: dict[str, Any] = {
        "title": None,
        "axis": alt.Axis(format=form, tickCount=5, tickMinStep=1 if form == "d" else alt.Undefined),
        "scale": alt.Scale(zero=False, padding=8),
    }
    if logarithmic:
        y |= _log(values)
    middle = unfolded(means)
    written = ".1%" if form == PERCENT else ".3~g"
    told = [
        alt.Tooltip("setting:N"),
        alt.Tooltip("round:Q"),
        *(alt.Tooltip(f"{name}:Q", format=written) for name in ("mean", "low", "high")),
        alt.Tooltip("runs:Q"),
    ]
    layers: list[alt.Chart] = []
    if any(low is not None for record in means for low in record["low"]):
        band = middle.transform_filter("isValid(datum.low)").mark_area(opacity=0.16)
        layers.append(band.encode(x=x, y=alt.Y("low:Q", **y), y2="high:Q", color=colour, detail="setting:N"))
    if single:
        thin = unfolded(single).mark_line(strokeWidth=1, opacity=0.45)
        layers.append(thin.encode(x=x, y=alt.Y("value:Q", **y), color=colour, detail="run:N"))
    over = middle.encode(x=x, y=alt.Y("mean:Q", **y), color=colour)
    for width, names in sorted(_widths(means, logarithmic).items(), reverse=True):
        own = over.transform_filter(alt.FieldOneOfPredicate("setting", names))
        layers.append(own.mark_line(strokeWidth=width).encode(detail="setting:N"))
    layers.append(over.mark_point(filled=True, size=30, opacity=1).encode(tooltip=told))
    if central:
        rule = alt.Chart(alt.Data(values=list(central))).mark_rule(strokeDash=[5, 4], strokeWidth=1.6)
        told = [alt.Tooltip("setting:N"), alt.Tooltip("central:Q", title="at its end", format=written)]
        layers.append(rule.encode(y=alt.Y("central:Q", **y), color=colour, tooltip=told))
    return alt.layer(
        *layers,
        width="container",
        height=HEIGHT,
        title=title,
        description=f"{title}, by round: a line for each setting, and its runs.",
    )


def _widths(means: Sequence[Mapping[str, Any]], logarithmic: bool) -> dict[float, list[str]]:
    """The settings by their lines' width: the wider, the more lie on it, so that it is seen below them."""
    curves = [dict(zip(record["round"], record["mean"], strict=True)) for record in means]
    if logarithmic:
        curves = [{n: math.log(max(value, ROUNDING)) for n, value in curve.items()} for curve in curves]
    drawn = [value for curve in curves for value in curve.values()]
    near = NEAR * (max(drawn) - min(drawn))

    def on(upper: Curve, lower: Curve) -> bool:
        apart = [abs(upper[n] - lower[n]) for n in upper.keys() & lower.keys()]
        return bool(apart) and frames.mean(apart) <= near

    found: dict[float, list[str]] = {}
    for place, (record, lower) in enumerate(zip(means, curves, strict=True), start=1):
        above = sum(on(upper, lower) for upper in curves[place:])
        found.setdefault(WIDTH + STEP * min(above, 3), []).append(record["setting"])
    return found


def _log(values: Sequence[float]) -> dict[str, Any]:
    """Axis and scale on which 0 stands at the bottom, and rounding with it."""
    above = [value for value in values if value > ROUNDING] or [1.0]
    low, high = digits(min(above) / 1.5, 2), digits(max(above) * 1.5, 2)
    powers = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    axis = alt.Axis(values=powers, format="~e") if len(powers) > 2 else log_axis(low, high)
    return {"axis": axis, "scale": alt.Scale(type="log", domain=[low, high], clamp=True, nice=False)}
