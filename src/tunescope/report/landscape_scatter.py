"""Sharpness against what interpolation gains under a shift: one dot for each run."""

from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.report import charts, formats, frames, theme
from tunescope.report.choice import choices
from tunescope.report.columns import column, unfolded
from tunescope.report.frames import Run
from tunescope.report.landscape_numbers import KINDS, MEAN, numbers
from tunescope.report.log_axis import log_axis
from tunescope.report.quality import PERCENT
from tunescope.stats import partial, relation
from tunescope.stats.intervals import spearman_interval
from tunescope.stats.twogroup import FEWEST

if TYPE_CHECKING:
    from tunescope.results.table import Table

VIEWS = {
    "total": ("sharpness", "all weights of the tower"),
    "straggler": ("straggler_sharpness", "straggler layers alone"),
}
_WIDTH, _HEIGHT = 330, 280

Place = tuple[str, str]  # a run's name, and the part of the model


def against_gain(table: "Table") -> list[alt.HConcatChart]:
    """Gain by sharpness, of all weights and of the straggler layers; a chart for each kind of sharpness."""
    gains = {(n.run.name, n.part): n.value for n in numbers(table, "gain", (), {"split": MEAN})}
    runs = {run.name: run for run in frames.done(table)}
    drawn: list[alt.HConcatChart] = []
    for kind, title in KINDS.items():
        found = {
            view: {(n.run.name, n.part): n.value for n in numbers(table, f"{metric}_{kind}")}
            for view, (metric, _) in VIEWS.items()
        }
        of_both = {
            view: {place: (x, gains[place]) for place, x in values.items() if place in gains}
            for view, values in found.items()
        }
        known = {view: points for view, points in of_both.items() if points}
        if known:
            drawn.append(_scatter(title, known, runs, table))
    return drawn


def _scatter(
    title: str, found: dict[str, dict[Place, tuple[float, float]]], runs: dict[str, Run], table: "Table"
) -> alt.HConcatChart:
    groups = frames.groups(table)
    parts = list(dict.fromkeys(part for points in found.values() for _, part in points))
    params, narrowed = choices([{"part": part} for part in parts], "part")
    panels = [
        _panel(
            _records(points, runs, table), _told(points, runs), f"{title}: {VIEWS[view][1]}", narrowed, groups
        )
        for view, points in found.items()
    ]
    chart = alt.hconcat(*panels, spacing=26).resolve_scale(y="shared")
    return chart.properties(
        description=f"Scatter of runs: sharpness ({title}) against the gain in accuracy under the shifts."
    ).add_params(*params)


def _records(
    points: dict[Place, tuple[float, float]], runs: dict[str, Run], table: "Table"
) -> list[dict[str, Any]]:
    ranks = charts.rate_places(table)
    cells: dict[tuple[str, str], list[tuple[Run, float, float]]] = {}
    for (name, part), (x, y) in points.items():
        cells.setdefault((runs[name].group, part), []).append((runs[name], x, y))
    return [
        {
            "group": group,
            "part": part,
            "run": [run.name for run, _, _ in own],
            "rank": [round(ranks[run.lr], 2) for run, _, _ in own],
            "x": column(x for _, x, _ in own),
            "gain": column(y for *_, y in own),
        }
        for (group, part), own in cells.items()
    ]


def _told(points: dict[Place, tuple[float, float]], runs: dict[str, Run]) -> list[dict[str, str]]:
    """Spearman's ρ of each part, with nothing held fixed and within groups at one learning rate."""
    told: list[dict[str, str]] = []
    for part in dict.fromkeys(part for _, part in points):
        mine = [(runs[name], x, y) for (name, where), (x, y) in points.items() if where == part]
        once = list({run.id: (run, x, y) for run, x, y in mine}.values())  # one run may stand in two groups
        lines = [f"{_rho(once, False)}, {len(once)} runs", _fixed(once)]
        told.append({"part": part, "told": "\n".join(line for line in lines if line)})
    return told


def _fixed(once: list[tuple[Run, float, float]]) -> str:
    """ρ within groups, given the learning rate where that varies; nothing where there is nothing to hold."""
    groups = [run.group for run, _, _ in once]
    several = [one for one in once if groups.count(one[0].group) > 1]  # one has nothing to go with
    rates = {run.lr for run, _, _ in several}
    given = len(rates) > 1 and None not in rates
    if not given and len({run.group for run, _, _ in several}) < 2:
        return ""
    words = "within groups, lr held fixed" if given else "within groups"
    return f"{words}: {_rho(several, True, given)}"


def _rho(own: list[tuple[Run, float, float]], within: bool, given: bool = False) -> str:
    """Spearman's ρ with Bonett and Wright's 95 % interval, in words."""
    if len(own) < FEWEST:
        return "ρ –"
    of = [
        relation.Run(run.group, x, y, (run.lr,) if given and run.lr is not None else (), run.lr or 0.0)
        for run, x, y in own
    ]
    held = relation.hold(of, within)
    rho = partial.rho(held)
    if rho is None:
        return "ρ –"
    ends = spearman_interval(rho, held.effective)
    text = f"ρ {formats.number(round(rho, 2))}"
    return text if ends is None else f"{text} ({' to '.join(formats.number(round(end, 2)) for end in ends)})"


def _panel(
    records: list[dict[str, Any]],
    told: list[dict[str, str]],
    title: str,
    narrowed: str,
    groups: list[str],
) -> theme.Layers:
    values = [value for record in records for value in record["x"]]
    logarithmic = min(values) > 0 and max(values) > 10 * min(values)
    scale = (
        alt.Scale(type="log", nice=False, padding=14)
        if logarithmic
        else alt.Scale(zero=False, nice=False, padding=14)
    )
    drawn = [record["group"] for record in records]
    y = alt.Y(
        "gain:Q",
        title="gain in accuracy under the shifts, best α",
        axis=alt.Axis(format=PERCENT, tickCount=5),
        scale=alt.Scale(zero=False, padding=14),
    )
    zero = alt.Chart(alt.Data(values=[{"gain": 0}])).mark_rule(strokeDash=[4, 4], color=theme.REFERENCE)
    dots = (
        unfolded(records)
        .transform_filter(narrowed)
        .mark_point(filled=True, opacity=0.8)
        .encode(
            x=alt.X(
                "x:Q",
                title="sharpness, nats" + (" (logarithmic)" if logarithmic else ""),
                scale=scale,
                axis=log_axis(min(values), max(values))
                if logarithmic
                else alt.Axis(tickCount=5, format="~g"),
            ),
            y=y,
            color=theme.colour(groups, drawn),
            shape=theme.shape(groups, drawn),
            size=alt.Size("rank:Q", scale=alt.Scale(domain=[0, 1], range=[30, 130]), legend=None),
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("x:Q", title="sharpness, nats", format=".3~g"),
                alt.Tooltip("gain:Q", title="gain", format="+.1%"),
            ],
        )
    )
    words = (
        alt.Chart(alt.Data(values=told))
        .transform_filter(narrowed)
        .mark_text(
            align="left", baseline="top", fontSize=11, lineBreak="\n", lineHeight=14, color=theme.REFERENCE
        )
        .encode(x=alt.value(0), y=alt.value(-32), text=alt.Text("told:N"))
    )
    return alt.layer(
        zero.encode(y=y),
        dots,
        words,
        width=_WIDTH,
        height=_HEIGHT,
        title=title,
    )
