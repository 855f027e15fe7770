"""What a tuned model still does as its heads are taken out: a curve for each ranking of the heads."""

from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.report import frames, heads, theme
from tunescope.report.choice import choices
from tunescope.report.columns import column, unfolded
from tunescope.report.quality import ACCURACY, CORRELATION, Quality
from tunescope.stats.run_mean import run_mean

if TYPE_CHECKING:
    from tunescope.results.table import Table

SETTINGS_AT_MOST = 24
RANKINGS = {
    "importance": ("importance", theme.COLOURS[0]),
    "gate_gradient": ("gate gradient", theme.COLOURS[1]),
    "gate_fisher": ("gate gradient²", theme.COLOURS[2]),
    "update_relative": ("relative update", theme.COLOURS[3]),
    "plasticity": ("plasticity", theme.COLOURS[5]),
    "random": ("by chance", theme.REFERENCE),
}

_ENDS = {"bottom": "low", "top": "high"}

Curve = dict[float, list[float]]  # share of heads that is out → one number a run


def pruning(table: "Table") -> list[theme.Layers]:
    """Accuracy, or rank correlation, by the share of heads that is out, the lowest ranked first.

    Means over the runs of a setting, with their 95 % interval from three runs on.
    """
    drawn = ((good, _records(table, good)) for good in (ACCURACY, CORRELATION))
    return [_curves(good, records) for good, records in drawn if records]


def _records(table: "Table", good: Quality) -> list[dict[str, Any]]:
    curves: dict[tuple[str, str, str], Curve] = {}
    runs = frames.done(table)
    kept = set(list(dict.fromkeys(run.setting for run in runs))[:SETTINGS_AT_MOST])
    for ranking, (name, _) in RANKINGS.items():
        metric = f"pruning.{ranking}.{good.metric.removeprefix('transfer.')}"
        found: dict[str, list[dict[str, Any]]] = {}
        for record in frames.read(table, metric, by=("run", "tower", "component", "point")):
            found.setdefault(record["run"], []).append(record)
        for run in runs:
            for record in found.get(run.id, ()) if run.setting in kept else ():
                place = (run.setting, heads.part_of(record["tower"], record["component"]), name)
                curves.setdefault(place, {}).setdefault(record["point"], []).append(record["value"])
    order = list(dict.fromkeys(run.setting for run in runs))
    in_order = sorted(curves.items(), key=lambda one: order.index(one[0][0]))
    return [_record(*place, curve) for place, curve in in_order]


def _record(setting: str, part: str, ranking: str, curve: Curve) -> dict[str, Any]:
    shares = sorted(curve)
    means = [run_mean(ranking, curve[share]) for share in shares]
    nan = float("nan")
    return {
        "setting": setting,
        "part": part,
        "ranking": ranking,
        "share": column(shares),
        "mean": column(nan if mean is None else mean.value for mean in means),
        "low": column(nan if mean is None or mean.low is None else mean.low for mean in means),
        "high": column(nan if mean is None or mean.high is None else mean.high for mean in means),
        "runs": [len(curve[share]) for share in shares],
    }


def _curves(good: Quality, records: list[dict[str, Any]]) -> theme.Layers:
    params, narrowed = choices(records, "setting", "part")
    there = {record["ranking"] for record in records}
    shown = [(name, colour) for name, colour in RANKINGS.values() if name in there]
    scale = alt.Scale(domain=[name for name, _ in shown], range=[colour for _, colour in shown])
    base = alt.Chart().transform_flatten(["share", "mean", "low", "high", "runs"]).transform_filter(narrowed)
    base = base.encode(
        x=alt.X(
            "share:Q",
            title="share of heads taken out, the lowest ranked first",
            axis=alt.Axis(format="%", tickCount=6),
            scale=alt.Scale(nice=False),
        ),
        color=alt.Color("ranking:N", scale=scale, legend=alt.Legend(columns=2, symbolOpacity=1)),
    )
    # without an interval the band has no width; a layer without records would have no scale
    ends = {end: f"isValid(datum.{of}) ? datum.{of} : datum.mean" for end, of in _ENDS.items()}
    band = (
        base.transform_calculate(**ends)
        .mark_area(opacity=0.13, line=False)
        .encode(
            y=alt.Y("bottom:Q", title=f"{good.name}, mean over runs", axis=alt.Axis(format=good.axis)),
            y2="top:Q",
        )
    )
    line = base.mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=22)).encode(
        y=alt.Y("mean:Q"),
        tooltip=[
            alt.Tooltip("setting:N"),
            alt.Tooltip("ranking:N"),
            alt.Tooltip("share:Q", title="heads taken out", format=".0%"),
            *(alt.Tooltip(f"{end}:Q", format=good.value) for end in ("mean", "low", "high")),
            alt.Tooltip("runs:Q"),
        ],
    )
    return alt.layer(
        band,
        line,
        data=unfolded(records).data,
        width="container",
        height=280,
        description=f"{good.name.capitalize()} by the share of heads taken out, a curve for each ranking.",
    ).add_params(*params)
