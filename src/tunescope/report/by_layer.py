"""Ways of tuning against each other, layer by layer: a line for each, its runs and their interval."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import altair as alt

from tunescope.errors import TableError
from tunescope.report import frames, layer_lines, theme
from tunescope.report.choice import choices, select
from tunescope.report.columns import column
from tunescope.report.frames import Run
from tunescope.report.measures import Measure, moved
from tunescope.stats.run_mean import run_mean
from tunescope.stats.samples import best
from tunescope.stats.setting import setting

if TYPE_CHECKING:
    from tunescope.results.table import Table

LINES_AT_MOST = 24
NUMBERS_AT_MOST = 4_000  # of single runs; beyond, only the first measures have them
BEST = "each group's best on validation"

Layers = dict[str, dict[int, float]]  # measure → layer → value


@dataclass(frozen=True)
class Line:
    """Runs that differ in the seed alone, and what is said of them.

    Args:
        name: the setting, without what is selected above the chart.
        runs: that are done.
        best: whether its learning rate is the one that the group would choose.
    """

    name: str
    runs: tuple[Run, ...]
    best: bool

    @property
    def data(self) -> str:
        """What it was tuned on, where that varies."""
        return str(self.runs[0].factors.get("data", ""))

    @property
    def rate(self) -> str:
        """Its learning rate, as the select calls it."""
        return f"{self.runs[0].lr:g}" if self.runs[0].lr is not None else ""


def by_layer(table: "Table") -> list[theme.Layers]:
    """What changed by layer, a chart for each tower: means over the runs of a setting, and their interval."""
    measures = moved(table)
    towers: dict[str | None, dict[str, Layers]] = {}
    for measure in measures:
        by = ("tower", "run", "layer")
        for record in frames.read(table, measure.metric, by=by, magnitude=measure.magnitude):
            if record["layer"] is not None:
                found = towers.setdefault(record["tower"], {}).setdefault(record["run"], {})
                found.setdefault(measure.name, {})[record["layer"]] = record["value"]
    shown = lines(table)[:LINES_AT_MOST]
    charts = (_chart(table, tower, shown, found, len(towers) > 1) for tower, found in towers.items())
    return [chart for chart in charts if chart is not None]


def lines(table: "Table") -> list[Line]:
    """Every setting at its group's best learning rate, then those at a rate that another group has too."""
    members = table.runs.to_pylist()
    runs = frames.done(table)
    chosen = {group: _best(table, group, members) for group in frames.groups(table)}
    own: dict[str, list[Run]] = {}
    for run in runs:
        own.setdefault(run.setting, []).append(run)
    shared = {
        rate
        for rate in {run.lr for run in runs}
        if rate is not None and len({run.group for run in runs if run.lr == rate}) > 1
    }
    rates = {group: {run.lr for run in runs if run.group == group} for group in chosen}
    # where nothing chooses among a group's learning rates, each is a line of its own
    said = {group: {"lr"} if len(rates[group]) > 1 and not chosen[group] else set() for group in chosen}
    found = [
        Line(
            setting(
                runs[0].group,
                {k: v for k, v in runs[0].factors.items() if k not in {"lr", "data"} - said[runs[0].group]},
            ),
            tuple(runs),
            all(runs[0].factors.get(name) == value for name, value in chosen[runs[0].group].items()),
        )
        for runs in own.values()
    ]
    found = [line for line in found if line.best or line.runs[0].lr in shared]
    return sorted(found, key=lambda line: not line.best)


def _best(table: "Table", group: str, members: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    try:
        return best(table, group, members)
    except TableError:  # nothing to choose by: every setting is drawn
        return {}


def _chart(
    table: "Table", tower: str | None, shown: Sequence[Line], found: Mapping[str, Layers], several: bool
) -> theme.Layers | None:
    shown = [line for line in shown if any(run.id in found for run in line.runs)]
    if not shown:
        return None
    there = {name for layers in found.values() for name in layers}
    measures = [measure for measure in moved(table) if measure.name in there]
    names = [measure.name for measure in measures]
    deep = sorted({layer for layers in found.values() for values in layers.values() for layer in values})
    count = sum(len(line.runs) for line in shown) * len(deep)
    single = names[: max(1, NUMBERS_AT_MOST // count)]
    means = [_mean(line, found, measures, deep) for line in shown]
    runs = [
        _place(line)
        | {"run": run.name, "layer": deep}
        | {name: _values(found[run.id], name, deep) for name in single}
        for line in shown
        for run in line.runs
        if run.id in found and len(line.runs) > 1
    ]
    rates = list(dict.fromkeys(line.rate for line in shown if line.rate))
    rates = [rate for rate in rates if len({one.runs[0].group for one in shown if one.rate == rate}) > 1]
    rates.sort(key=float)
    params, narrowed = choices(means, "data")
    if layer_lines.crowded(means):  # two of the groups stand out
        groups = list(dict.fromkeys(record["group"] for record in means))
        params = [
            select("first", groups),
            select("second", groups, start=groups[min(1, len(groups) - 1)]),
            *params,
        ]
    if any(not line.best for line in shown):
        labels = [BEST, *(f"{rate}, where measured" for rate in rates)]
        params = [select("rate", ["best", *rates], labels), *params]
        narrowed = f"{narrowed} && (rate === 'best' ? datum.best : datum.lr === rate)"
    params = [select("measure", names), *params]
    chart = layer_lines.drawn(frames.groups(table), measures, means, runs, narrowed)
    where = f"{tower} tower" if tower else "model"
    return chart.properties(
        title=alt.TitleParams(alt.ExprRef(f"measure + {json.dumps(f', {where}' if several else '')}")),
        description=f"Change by layer of the {where}: a line for each setting, its runs and their interval.",
    ).add_params(*params)


def _place(line: Line) -> dict[str, Any]:
    place = {"line": line.name, "group": line.runs[0].group, "data": line.data}
    return place | {"lr": line.rate, "best": line.best}


def _values(layers: Layers, name: str, deep: Sequence[int]) -> list[float | None]:
    return column(layers.get(name, {}).get(layer, math.nan) for layer in deep)


def _mean(
    line: Line, found: Mapping[str, Layers], measures: Sequence[Measure], deep: Sequence[int]
) -> dict[str, Any]:
    """A record of a line, by layer: mean, and half the width of Student's 95 % interval over its runs."""
    known = [found[run.id] for run in line.runs if run.id in found]
    record = _place(line) | {"runs": len(known), "layer": list(deep)}
    for measure in measures:
        name = measure.name
        each = ([own.get(name, {}).get(layer, math.nan) for own in known] for layer in deep)
        every = [run_mean(name, values) for values in each]
        record[name] = column(math.nan if one is None else one.value for one in every)
        halves = [
            math.nan if one is None or one.low is None or one.high is None else (one.high - one.low) / 2
            for one in every
        ]
        if any(map(math.isfinite, halves)):
            record[f"{name}{layer_lines.HALF}"] = column(halves)
    return record
