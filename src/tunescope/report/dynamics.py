"""How what a live monitor looks at moved while training: a line for each run, the mean of each group."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.report import frames, theme
from tunescope.report.choice import select
from tunescope.report.columns import digits, unfolded
from tunescope.report.federated_numbers import in_rounds
from tunescope.report.figure import Figure, drawn
from tunescope.report.frames import Run
from tunescope.report.titles import title

if TYPE_CHECKING:
    from tunescope.results.table import Table

METRICS = {
    "entropy": "attention.entropy",
    "gini": "attention.gini",
    "erf95": "attention.erf95",
    "cka": "representation.cka",
    "drift": "representation.drift",
    "diversity": "attention.head_diversity",
}
MEAN = "mean over layers"
STEP, ROUND = "optimiser step", "round"  # what runs in one place, and federated ones, go by
NUMBERS_AT_MOST = 7000  # of the mean over layers, and again of the layers one by one
STEPS = (24, 12, 6)  # at most so many looks of a line; the first that fits
_ABOUT = 16  # what the names of a line cost, in numbers

Cell = dict[str, list[float]]  # metric → values
Series = dict[int, Cell]  # by step
Lines = dict[tuple[str, int | None], Series]  # by name of a run, setting or group, and layer


@dataclass(frozen=True)
class _Unit:
    """What one line is of: each run, or the runs of a setting or of a group together."""

    words: str
    column: str
    of: Callable[[Run], str]


UNITS = (
    _Unit("each a run", "run", lambda run: run.name),
    _Unit("each the mean of a setting", "setting", lambda run: run.setting),
    _Unit("each the mean of a group", "group", lambda run: run.group),
)


def dynamics_figures(table: "Table") -> tuple[Figure, ...]:
    """The figure of training dynamics; none where no monitor looked on."""
    every = [dynamics(table, by) for by in (STEP, ROUND)]
    charts = [chart for chart, _ in every if chart is not None]
    if not charts:
        return ()
    units = [words for _, found in every for words in found]
    caption = (
        "What a live monitor saw while training, on a few examples: choose a quantity and a layer. Thin "
        f"lines: {units[0]}. Thick lines: the mean of a group. Step 0 is the model before tuning. The Gini "
        "coefficient is 0 where attention is spread evenly, and 1 where all of it falls on one token."
    )
    if coarse := [words for words in units if words != units[0]]:
        caption += f" For room, lines of single layers are {coarse[-1]}; the table has every run."
    if len(charts) > 1:
        caption += " Federated runs stand apart, by round."
    return (drawn("dynamics", "While it was trained", caption, False, charts),)


def dynamics(table: "Table", by: str = STEP) -> tuple[theme.Layers | None, list[str]]:
    """The chart of what runs have by step or by round, and what a thin line is of: of the mean over layers,
    then of single layers.
    """
    apart = in_rounds(table)
    runs = {run.name: run for run in frames.runs(table) if (run.id in apart) == (by == ROUND)}
    read = _read(table, runs)
    names = [
        name for name in METRICS if any(name in cell for line in read.values() for cell in line.values())
    ]
    if not names:
        return None, []
    over = _merged(read, lambda run, _: (run, None))
    fitted = [found for part in (over, read) if (found := _fitted(part, runs, names)) is not None]
    records = [record for part, _ in fitted for record in part]
    return _chart(frames.groups(table), records, names, by), [unit.words for _, unit in fitted]


def _read(table: "Table", runs: dict[str, Run]) -> Lines:
    """By run and layer: the mean over heads at each step."""
    members: dict[str, list[str]] = {}  # two groups may share a run
    for name, run in runs.items():
        members.setdefault(run.id, []).append(name)
    found: Lines = {}
    for name, metric in METRICS.items():
        for record in frames.read(table, metric, by=("run", "layer", "step")):
            if record["step"] is not None and record["layer"] is not None:
                for run in members.get(record["run"], ()):
                    line = found.setdefault((run, record["layer"]), {})
                    line.setdefault(record["step"], {}).setdefault(name, []).append(record["value"])
    order = {name: place for place, name in enumerate(runs)}
    return dict(sorted(found.items(), key=lambda item: (order[item[0][0]], item[0][1] or 0)))


def _merged(lines: Lines, key: Callable[[str, int | None], tuple[str, int | None]]) -> Lines:
    """Lines of one key together: at each step the mean of each line counts once."""
    found: Lines = {}
    for place, line in lines.items():
        target = found.setdefault(key(*place), {})
        for step, cell in line.items():
            for metric, values in cell.items():
                target.setdefault(step, {}).setdefault(metric, []).append(frames.mean(values))
    return found


def _fitted(
    lines: Lines, runs: dict[str, Run], names: list[str]
) -> tuple[list[dict[str, Any]], _Unit] | None:
    """The lines as records, of the finest unit and the most looks that there is room for."""
    for unit in UNITS:
        together = _merged(lines, lambda run, layer, unit=unit: (unit.of(runs[run]), layer))
        for most in STEPS:
            kept = {place: _thinned(line, most) for place, line in together.items()}
            numbers = sum(_ABOUT + len(line) * (1 + len(names)) for line in kept.values())
            if numbers <= NUMBERS_AT_MOST:
                first = {unit.of(run): run for run in reversed(runs.values())}
                return [
                    _record(first[name], unit, at, line, names) for (name, at), line in kept.items()
                ], unit
    return None


def _thinned(line: Series, most: int) -> Series:
    """About so many looks, the first and the last among them."""
    steps = sorted(line)
    size = max(1, -(-(len(steps) - 1) // (most - 1)))
    return {step: line[step] for step in [*steps[:-1:size], steps[-1]]}


def _record(run: Run, unit: _Unit, layer: int | None, line: Series, names: list[str]) -> dict[str, Any]:
    about = {"group": run.group, unit.column: unit.of(run), "line": unit.of(run), "layer": layer}
    if unit.column == "run":
        about["seed"] = run.factors.get("seed")
    cells = line.values()
    values = {
        name: [digits(frames.mean(cell[name])) if name in cell else None for cell in cells] for name in names
    }
    return about | {"step": list(line)} | values


def _chart(groups: list[str], records: list[dict[str, Any]], names: list[str], by: str) -> theme.Layers:
    there = sorted({record["layer"] for record in records if record["layer"] is not None})
    params = [
        select("quantity", names, [title(METRICS[name]) for name in names]),
        select("layers", [MEAN, *(f"layer {layer}" for layer in there)]),
    ]
    drawn = [record["group"] for record in records]
    base = (
        unfolded(records)
        .transform_filter(f"(isValid(datum.layer) ? 'layer ' + datum.layer : '{MEAN}') === layers")
        .transform_calculate(value="datum[quantity]")
        .transform_filter("isValid(datum.value)")
        .encode(
            x=alt.X(
                "step:Q",
                title=by,
                axis=alt.Axis(tickMinStep=1, tickCount=6),
                scale=alt.Scale(nice=False),
            ),
            color=theme.colour(groups, drawn, legend=alt.Legend(symbolOpacity=1)),
        )
    )
    y = alt.Y("value:Q", title=None, axis=alt.Axis(format=".3~g", tickCount=5), scale=alt.Scale(zero=False))
    told = [
        alt.Tooltip("line:N", title="of"),
        alt.Tooltip("step:Q", title=by),
        alt.Tooltip("value:Q", format=".3~g"),
    ]
    thin = base.mark_line(strokeWidth=1, opacity=0.45).encode(y=y, detail=alt.Detail("line:N"))
    dots = base.mark_point(size=16, filled=True, opacity=0.45).encode(y=y, tooltip=told)
    mean = base.mark_line(strokeWidth=2.6).encode(y=alt.Y("mean(value):Q", title=None))
    return alt.layer(
        thin,
        dots,
        mean,
        width="container",
        height=280,
        description=f"What a live monitor saw, by {by}: a line for each run, and the mean of each group.",
    ).add_params(*params)
