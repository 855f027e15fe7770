"""Does zero-shot accuracy go when attention collapses? What moved inside against what was kept, by run."""

from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.report import formats, frames, theme
from tunescope.report.charts import RETENTION, ZERO_SHOT
from tunescope.report.choice import choices, select
from tunescope.report.columns import column, unfolded
from tunescope.report.layer_lines import STANDS_OUT
from tunescope.report.measures import KEPT, moved
from tunescope.report.quality import PERCENT
from tunescope.report.run_rho import run_rho

if TYPE_CHECKING:
    from tunescope.results.table import Table

MEAN = "mean of all"
TOLD = (frames.ENTROPY, "representation.cka", "representation.drift", "weights.update_relative")
HEIGHT = 340


def collapse(table: "Table") -> list[theme.Layers]:
    """What was kept of zero-shot accuracy against what is selected of what moved: one dot for each run."""
    kept = _kept(table)
    known = {run for numbers in kept.values() for run in numbers}
    measures = {m: numbers for m in moved(table) if known & (numbers := m.per_run(table)).keys()}
    records: list[dict[str, Any]] = []
    for benchmark, numbers in kept.items():
        cells: dict[str, list[frames.Run]] = {}
        for run in frames.done(table):
            if run.id in numbers and any(run.id in values for values in measures.values()):
                cells.setdefault(run.group, []).append(run)
        records += [
            {"benchmark": benchmark, "group": group, "run": [run.name for run in runs]}
            | {"kept": column(numbers[run.id] for run in runs)}
            | {
                measure.name: column(values.get(run.id, float("nan")) for run in runs)
                for measure, values in measures.items()
            }
            for group, runs in cells.items()
        ]
    if not records:
        return []
    params, narrowed = choices(records, "benchmark")
    params = [select("measure", [measure.name for measure in measures]), *params]
    drawn = [record["group"] for record in records]
    groups = frames.groups(table)

    def placed(chart: alt.Chart) -> alt.Chart:
        chart = chart.transform_calculate(moved="datum[measure]").transform_filter("isValid(datum.moved)")
        x = alt.X(
            "moved:Q",
            title=None,
            axis=alt.Axis(format=".3~g", tickCount=7, grid=True),
            scale=alt.Scale(zero=False, nice=False, padding=16),
        )
        y = alt.Y(
            "kept:Q",
            title="zero-shot accuracy, after / before",
            axis=alt.Axis(format=PERCENT),
            scale=alt.Scale(zero=True, nice=False, padding=8),
        )
        return chart.encode(x=x, y=y)

    still = {measure.name: measure.still for measure in measures}
    base = placed(alt.Chart(alt.Data(values=[{"base model": "before tuning", "kept": 1.0} | still])))
    told = [
        alt.Tooltip("run:N"),
        alt.Tooltip("moved:Q", title="moved", format=".3~g"),
        alt.Tooltip("kept:Q", title="zero-shot kept", format=".1%"),
    ]
    many = theme.crowded(drawn)
    colour, opacity = theme.colour(groups, drawn), alt.value(0.8)
    if many:  # two groups stand out
        colour = alt.condition(STANDS_OUT, colour, alt.value(theme.REFERENCE))
        opacity = alt.condition(STANDS_OUT, alt.value(0.9), alt.value(0.25))
        found = list(dict.fromkeys(drawn))
        params += [select("first", found), select("second", found, start=found[1])]
    dots = placed(unfolded(records).transform_filter(narrowed))
    marks = dots.transform_calculate(front=f"{STANDS_OUT} ? 1 : 0" if many else "0")
    marks = marks.mark_point(filled=True, size=64).encode(
        color=colour, opacity=opacity, shape=theme.shape(groups, drawn), tooltip=told, order="front:Q"
    )
    cross = base.mark_point(shape="cross", size=110, filled=True, color=theme.REFERENCE)
    name = base.mark_text(align="left", dx=9, dy=-9, fontSize=10, color=theme.REFERENCE, text="base model")
    layers: list[alt.Chart | theme.Layers] = [
        marks,
        cross.encode(tooltip=[alt.Tooltip("base model:N")]),
        name,
    ]
    if many:
        names = dots.mark_text(align="left", dx=10, fontSize=11).encode(
            x=alt.X("mean(moved):Q"),
            y=alt.Y("mean(kept):Q"),
            text="group:N",
            detail="group:N",
            color=colour,
            opacity=alt.condition(STANDS_OUT, alt.value(1), alt.value(0)),
        )
        layers[0] = alt.layer(marks, names)  # of the same records, which stand in the document once
    return [
        alt.layer(
            *layers,
            width="container",
            height=HEIGHT,
            title=alt.TitleParams(alt.ExprRef("'across: ' + measure")),
            description="Scatter of runs: what moved inside the model against the zero-shot accuracy kept.",
        ).add_params(*params)
    ]


def told(table: "Table") -> str:
    """Spearman's ρ of the measures of `TOLD` with what was kept, overall and within groups, in a sentence.

    Args:
        table: the one table.

    Returns:
        empty where no measure has a ρ.
    """
    runs = frames.done(table)
    kept = KEPT.per_run(table)
    words: list[str] = []
    counts: list[int] = []
    for measure in (one for one in moved(table) if one.metric in TOLD):
        numbers = measure.per_run(table)
        whole = run_rho(runs, numbers, kept)
        if whole is None:
            continue
        inside = run_rho(runs, numbers, kept, within=True)
        counts.append(whole.runs)
        words.append(f"{measure.name.split(',')[0]} {whole.words}")
        if inside is not None and len({run.group for run in runs}) > 1:
            words[-1] += f", within groups {formats.number(round(inside.value, 2))}"
    if not words:
        return ""
    n = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return f"Spearman's ρ with what was kept, over {n} runs (and its 95 % interval): {'; '.join(words)}."


def _kept(table: "Table") -> dict[str, dict[str, float]]:
    """What each run kept on each benchmark, their mean first where there are several."""
    found: dict[str, dict[str, float]] = {}
    ended = {run.id for run in frames.done(table)}
    for record in frames.read(table, RETENTION, ZERO_SHOT, by=("run", "split")):
        if record["run"] in ended:
            split = record["split"].removeprefix("zero_shot:")
            found.setdefault(split, {})[record["run"]] = record["value"]
    return found if len(found) < 2 else {MEAN: KEPT.per_run(table)} | found
