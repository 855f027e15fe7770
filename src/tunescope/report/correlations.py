"""Which measurements say the same? Spearman's ρ of every two of them over runs."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from tunescope.report import frames, theme
from tunescope.report.choice import choices
from tunescope.report.columns import digits, unfolded
from tunescope.report.measures import Measure, moved, outcomes
from tunescope.report.run_rho import Rho, run_rho
from tunescope.stats.intervals import constant

if TYPE_CHECKING:
    from tunescope.results.table import Table

ALL, WITHIN = "all runs", "within groups"
SHARPNESS = Measure("sharpness, average case", "landscape.sharpness_average")
_CELL, _FEWEST = 40, 3

Pairs = dict[tuple[str, str], Rho]


def correlations(table: "Table") -> list[theme.Layers]:
    """A heatmap of ρ over runs, or within groups; like measures stand side by side."""
    runs = frames.done(table)
    numbers = _measured(table)
    views = {ALL: _pairs(numbers, runs, within=False)}
    if len({run.group for run in runs}) > 1:
        views[WITHIN] = _pairs(numbers, runs, within=True)
    known = [name for name in numbers if any(name in pair for pair in views[ALL])]
    if len(known) < _FEWEST:
        return []
    order = _order(known, views[ALL])
    records = [
        {"over": over, "measure": one, "beside": others}
        | {"rho": [digits(pairs[one, other].value, 3) for other in others]}
        | {"runs": [pairs[one, other].runs for other in others]}
        for over, pairs in views.items()
        for one in order
        if (others := [other for other in order if (one, other) in pairs])
    ]
    return [_heatmap(records, order)]


def told(table: "Table") -> str:
    """How many runs the correlations are over, in words; empty where there are none."""
    pairs = itertools.combinations(_measured(table).values(), 2)
    counts = [len(one.keys() & other.keys()) for one, other in pairs]
    if not counts:
        return ""
    least, most = min(counts), max(counts)
    return f", over {most} runs" if least == most else f", over {least} to {most} runs: those that have both"


def _measured(table: "Table") -> dict[str, dict[str, float]]:
    """The numbers of each measure that is not the same in every run."""
    found: dict[str, dict[str, float]] = {}
    for measure in (*moved(table), *outcomes(table), SHARPNESS):
        numbers = measure.per_run(table)
        if len(numbers) > 1 and not constant(list(numbers.values())):
            found[measure.name.split(",")[0]] = numbers
    return found


def _pairs(numbers: Mapping[str, Mapping[str, float]], runs: Sequence[frames.Run], *, within: bool) -> Pairs:
    """ρ of each two measures, both ways; those without one are not there."""
    pairs: Pairs = {}
    for one, other in itertools.combinations(numbers, 2):
        rho = run_rho(runs, numbers[one], numbers[other], within=within)
        if rho is not None:
            pairs[one, other] = pairs[other, one] = rho
    return pairs


def _order(names: Sequence[str], pairs: Pairs) -> list[str]:
    """Measures that go together, either way, side by side: average linkage by 1 − |ρ|."""
    apart = np.array(
        [
            [
                0.0 if one == other else 1 - abs(pairs[one, other].value) if (one, other) in pairs else 1.0
                for other in names
            ]
            for one in names
        ]
    )
    condensed = squareform(np.round(apart, 9), checks=False)
    tree = optimal_leaf_ordering(linkage(condensed, "average"), condensed)
    return [list(names)[i] for i in leaves_list(tree)]


def _heatmap(records: list[dict[str, Any]], order: list[str]) -> theme.Layers:
    params, narrowed = choices(records, "over")
    base = unfolded(records).transform_filter(narrowed)
    base = base.encode(
        x=alt.X(
            "beside:N",
            title=None,
            sort=order,
            scale=alt.Scale(domain=order),
            axis=alt.Axis(orient="top", labelAngle=-45, domain=False, grid=False),
        ),
        y=alt.Y(
            "measure:N", title=None, sort=order, scale=alt.Scale(domain=order), axis=alt.Axis(grid=False)
        ),
    )
    colour = alt.Color(
        "rho:Q",
        scale=alt.Scale(domain=[-1, 0, 1], range=[theme.FALL, theme.STILL, theme.RISE], interpolate="rgb"),
        legend=alt.Legend(
            title="Spearman's ρ",
            orient="bottom",
            gradientLength=240,
            gradientThickness=10,
            format="+.1f",
            values=[-1, -0.5, 0, 0.5, 1],
        ),
    )
    cells = base.mark_rect().encode(
        color=colour,
        tooltip=[
            alt.Tooltip("measure:N"),
            alt.Tooltip("beside:N", title="and"),
            alt.Tooltip("rho:Q", title="ρ", format="+.3f"),
            alt.Tooltip("runs:Q"),
        ],
    )
    number = base.mark_text(fontSize=10).encode(
        text=alt.Text("rho:Q", format="+.2f"),
        color=alt.condition("abs(datum.rho) > 0.55", alt.value("#ffffff"), alt.value("#2a2c30")),
    )
    chart = alt.layer(
        cells,
        number,
        width=alt.Step(_CELL),
        height=alt.Step(_CELL * 0.65),
        description=f"Spearman's rank correlations over runs of {', '.join(order)}.",
    )
    return chart.add_params(*params)
