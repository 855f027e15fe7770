"""What a setting does when it is varied: a row of charts for each factor, a line for each way of tuning."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import altair as alt

from tunescope.report import frames, theme
from tunescope.report.choice import choices
from tunescope.report.columns import column
from tunescope.report.frames import Run
from tunescope.report.measures import SIZE, Measure, outcomes
from tunescope.stats.setting import setting

if TYPE_CHECKING:
    from tunescope.results.table import Table

WORDS = {
    "lr": "learning rate",
    "blocks": "blocks",
    "weight": "weight of the penalty",
    "weight_decay": "weight decay",
    "image_size": "image size, px",
}
TICKS = 8
QUANTITIES = 3
_WIDTH, _HEIGHT = 205, 190


def sweeps(table: "Table") -> list[alt.HConcatChart]:
    """A row of small charts for each numeric factor that at least two values of were measured."""
    measures = [measure for measure in (SIZE, *outcomes(table)[:QUANTITIES]) if measure.per_run(table)]
    rows = (_row(table, factor, runs, measures) for factor, runs in factors(table).items())
    return [row for row in rows if row is not None]


def factors(table: "Table") -> dict[str, list[Run]]:
    """Each factor that is varied, and the runs that tell of it.

    These are the runs of groups in which it varies and, as long as there are colours for all, of groups that
    have one value of it: one that varies between groups alone is drawn for so many at most.
    """
    runs = frames.done(table)
    found: dict[str, list[Run]] = {}
    for name in dict.fromkeys(name for run in runs for name in run.factors if name != "seed"):
        known = [run for run in runs if isinstance(run.factors.get(name), (int, float))]
        values: dict[str, set[float]] = {}
        for run in known:
            values.setdefault(run.group, set()).add(_value(run, name))
        varied = [group for group, own in values.items() if len(own) > 1]
        if theme.crowded(list(values)):
            known = [run for run in known if run.group in varied]
        if len({_value(run, name) for run in known}) > 1:
            found[name] = known
    return found


def _value(run: Run, factor: str) -> float:
    return float(run.factors[factor])


def _row(
    table: "Table", factor: str, runs: Sequence[Run], measures: Sequence[Measure]
) -> alt.HConcatChart | None:
    """Lines join the means of runs that differ in nothing else but the seed."""
    found = {measure: numbers for measure in measures if (numbers := measure.per_run(table))}
    cells: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        if any(run.id in numbers for numbers in found.values()):
            rest = {name: value for name, value in run.factors.items() if name not in (factor, "data")}
            line = setting(run.group, rest)
            cells.setdefault((run.group, line, str(run.factors.get("data", ""))), []).append(run)
    word = WORDS.get(factor, factor.replace("_", " ").replace(".", " "))
    records = [
        {"group": group, "line": line, "data": data, "run": [run.name for run in members]}
        | {word: [_value(run, factor) for run in members]}
        | {m.name: column(numbers.get(run.id, math.nan) for run in members) for m, numbers in found.items()}
        for (group, line, data), members in cells.items()
    ]
    if not records:
        return None
    params, narrowed = choices(records, "data")
    values = sorted({_value(run, factor) for members in cells.values() for run in members})
    x = alt.X(
        field=word,
        type="quantitative",
        title=word,
        scale=_scale(values),
        axis=alt.Axis(
            values=values[:: -(-len(values) // TICKS)],
            format="~e" if 0 < values[-1] < 0.05 else "~g",
            labelOverlap="greedy",
            labelSeparation=6,
        ),
    )
    groups = frames.groups(table)
    drawn = [group for group, _, _ in cells]
    base = alt.Chart().transform_flatten(["run", word, *(measure.name for measure in found)])
    base = base.transform_filter(narrowed).encode(x=x, color=theme.colour(groups, drawn))
    shape = theme.shape(groups, drawn)
    panels = [_panel(base, measure, word, shape) for measure in found]
    names = ", ".join(measure.name for measure in found)
    row = alt.hconcat(*panels, spacing=20, data=alt.Data(values=records)).properties(
        description=f"{names}, against {word}, by group."
    )
    return row.add_params(*params)


def _panel(base: alt.Chart, measure: Measure, word: str, shape: alt.Shape) -> theme.Layers:
    from_zero = measure is SIZE
    of = base.transform_calculate(value=f"datum['{measure.name}']").transform_filter("isValid(datum.value)")
    y = alt.Y(
        "value:Q",
        title=None,
        axis=alt.Axis(format=measure.axis, tickCount=5),
        scale=alt.Scale(zero=from_zero, padding=0 if from_zero else 8),
    )
    line = of.mark_line(strokeWidth=1.8, opacity=0.95)
    dots = of.mark_point(filled=True, size=40, opacity=0.9).encode(
        y=y,
        shape=shape,
        tooltip=[
            alt.Tooltip("run:N"),
            alt.Tooltip(field=word, type="quantitative", format="~g"),
            alt.Tooltip("value:Q", title=measure.name, format=".3~g"),
        ],
    )
    return alt.layer(
        line.encode(y=alt.Y("mean(value):Q", title=None), detail=alt.Detail("line:N")),
        dots,
        width=_WIDTH,
        height=_HEIGHT,
        title=measure.name,
    )


def _scale(values: Sequence[float]) -> alt.Scale:
    """Logarithmic over a decade; where the smallest is 0, straight up to the next one."""
    positive = [value for value in values if value > 0]
    if values[0] < 0 or not positive or positive[-1] < 10 * positive[0]:
        return alt.Scale(zero=False, nice=False, padding=14)
    if values[0] == 0:
        return alt.Scale(type="symlog", constant=positive[0] / 2, nice=False, padding=14)
    return alt.Scale(type="log", nice=False, padding=14)
