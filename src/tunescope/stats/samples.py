"""From the table to the numbers that a test may compare, one a run, and why other runs gave none."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tunescope.errors import TableError, nearest
from tunescope.results.metric import declared
from tunescope.results.table import ALONG, RunValue, Table
from tunescope.stats.depth import DEPTHS, thirds
from tunescope.stats.finding import Factor, GroupSummary
from tunescope.stats.intervals import mean_interval
from tunescope.stats.words import listed
from tunescope.study.question import Measured, Question

Key = tuple[str, str]  # group and run: two groups of a study may share a run
CHOOSE_BY = {"transfer.acc1": 1, "transfer.squared_error": -1}  # 1: more is better, −1: less is
DONE = "done"
NOT_DONE = {"missing": "not carried out"}
LARGEST = 1e150  # the square of what is larger is not finite
NAMED, MIXED = 3, 8  # runs and parts that a warning names
RESERVED = ("run", "study", "group", "name", "status", "cause")  # columns of the runs that are no factors


@dataclass(frozen=True)
class Samples:
    """The groups of a question.

    Args:
        groups: in the question's order; a group may be empty.
        left_out: cause → number of runs that were asked about and gave no number.
        warnings: what the numbers themselves call for.
    """

    groups: tuple[GroupSummary, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def samples(table: Table, question: Question) -> Samples:
    """The numbers of a question's groups, narrowed by `at: best`, with failed and silent runs counted.

    Raises:
        TableError: a metric, group or factor that the table does not have, or a factor that is no number.
    """
    runs = table.runs.to_pylist()
    _check(table, question, list(dict.fromkeys(run["group"] for run in runs)))
    asked = question.compare or question.among or tuple(dict.fromkeys(run["group"] for run in runs))
    members = [run for run in runs if run["group"] in asked]
    chosen: dict[str, dict[str, Factor]] = {group: dict(question.fixed) for group in asked}
    if question.at == "best":
        chosen = {group: best(table, group, members) for group in asked}
    wanted = {(run["group"], run["run"]): run for run in members if _matches(run, chosen[run["group"]])}
    unit = "layer" if question.by_depth else question.unit
    values = [_values(table, number, unit, asked) for number in question.numbers]
    left_out = _left_out(question, values, wanted)
    used = wanted.keys() - left_out.keys()
    usable, *others = ([v for v in each if (v.group, v.run) in used] for each in values)
    beside = [{(v.group, v.run): v.value for v in other} for other in others]
    if question.by_depth:
        usable, asked = thirds(usable), DEPTHS
        chosen = {depth: dict(question.fixed) for depth in DEPTHS}
    groups = tuple(
        _summary(group, [v for v in usable if v.group == group], chosen[group], beside, question)
        for group in asked
    )
    causes = dict(sorted(Counter(left_out.values()).items()))
    runs_used = pa.array(sorted({run for _, run in used}), pa.string())
    mixed = dict.fromkeys(
        note for number in question.numbers for note in _mixed(table, number, question, runs_used)
    )
    found = (*_unusable(question, values, wanted), *mixed, *_warnings(question, groups))
    return Samples(groups, causes, found)


def _check(table: Table, question: Question, groups: Sequence[str]) -> None:
    where = f"question {question.ask!r}"
    metrics = table.metrics()
    for metric in (number.metric for number in question.numbers):
        if metric not in metrics and metric not in declared():
            raise TableError(f"{where}: the table has no metric {metric!r}; {nearest(metric, metrics)}")
    for group in (*(question.compare or ()), *question.among):
        if group not in groups:
            raise TableError(f"{where}: no runs of group {group!r} in the table; {nearest(group, groups)}")
    factors = set(table.runs.column_names) - set(RESERVED)
    for factor in (*question.fixed, *question.held):
        if factor not in factors:
            raise TableError(f"{where}: the runs have no factor {factor!r}; {nearest(factor, factors)}")
    if question.against is None:
        return
    for value in table.runs.column(question.against).to_pylist():
        if isinstance(value, str):
            raise TableError(
                f"{where}: factor {question.against!r} is {value!r} in some run; expected numbers: "
                "use 'compare' for groups that have no order"
            )


def best(table: Table, group: str, members: Sequence[Mapping[str, Any]]) -> dict[str, Factor]:
    """The group's learning rate with the best mean validation accuracy, or squared error where labels are
    numbers; ties go to the smaller one.
    """
    mine = [run for run in members if run["group"] == group and run["status"] == DONE]
    if len({run.get("lr") for run in members if run["group"] == group}) < 2 or not mine:
        return {}
    known = [
        (metric, head) for metric in CHOOSE_BY if metric in table.metrics() for head in ("trained", "text")
    ]
    for metric, head in known:
        where = {"split": "val", "component": head}
        scores: defaultdict[float, list[float]] = defaultdict(list)
        for found in table.per_run(metric, where, "mean", (group,)):
            rate = found.factors.get("lr")
            if isinstance(rate, float | int) and math.isfinite(found.value):
                scores[float(rate)].append(CHOOSE_BY[metric] * found.value)
        if scores:
            return {"lr": min(scores, key=lambda rate: (-math.fsum(scores[rate]) / len(scores[rate]), rate))}
    raise TableError(
        f"'at: best' chooses the learning rate of group {group!r} by {' or '.join(CHOOSE_BY)} on "
        "split=val, and the table has none: add the probe 'transfer' to the study, or ask with 'at: all'"
    )


def _matches(run: Mapping[str, Factor], chosen: Mapping[str, Factor]) -> bool:
    return all(run.get(name) == value for name, value in chosen.items())


def _values(table: Table, number: Measured, unit: str, asked: Sequence[str]) -> list[RunValue]:
    if number.metric not in table.metrics():  # declared, and measured by no run that came to its end
        return []
    if unit == "run":
        return table.per_run(number.metric, number.where, number.reduce, asked)
    if unit == "layer":
        by_layer = table.per_layer(number.metric, number.where, number.reduce, asked)
        return [replace(value, factors=value.factors | {"layer": value.layer}) for value in by_layer]
    by_head = table.per_head(number.metric, number.where, number.reduce, asked)
    return [replace(v, factors=v.factors | {"layer": v.layer, "head": v.head}) for v in by_head]


def _left_out(
    question: Question, values: Sequence[Sequence[RunValue]], wanted: Mapping[Key, Mapping[str, Any]]
) -> dict[Key, str]:
    """The runs that cannot be used, each with its cause; `values` are those of each number asked for."""
    causes: dict[Key, str] = {}
    of_what = "" if question.unit == "run" else f" of a {question.unit}"
    for key, facts in wanted.items():
        missing = [factor for factor in question.held if facts[factor] is None]
        if facts["status"] != DONE:
            causes[key] = str(facts["cause"] or NOT_DONE.get(facts["status"], facts["status"]))
        elif missing:
            causes[key] = f"no {missing[0]}"
    for number, found in zip(question.numbers, values, strict=True):
        name = number.called if question.predictors else number.metric
        for value in found:
            if not _usable(value) and (value.group, value.run) in wanted:
                causes.setdefault((value.group, value.run), f"{name} is not a finite number")
        measured = Counter((value.group, value.run) for value in found)
        for key in wanted:
            if key not in measured:
                causes.setdefault(key, f"no {name} measured{of_what}")
            elif question.by_depth and measured[key] < len(DEPTHS):
                causes.setdefault(key, f"fewer than {len(DEPTHS)} layers")
    return causes


def _usable(value: RunValue) -> bool:
    """Whether a number is finite, and its square too."""
    return abs(value.value) < LARGEST


def _unusable(
    question: Question, values: Sequence[Sequence[RunValue]], wanted: Mapping[Key, Mapping[str, Any]]
) -> list[str]:
    """Which runs were left out for a number that is not finite: somebody will want to look at them."""
    found: dict[str, str] = {}
    for number, each in zip(question.numbers, values, strict=True):
        for value in each:
            if not _usable(value) and (value.group, value.run) in wanted:
                found.setdefault(value.name, f"{value.name} ({number.metric} {value.value:g})")
    if not found:
        return []
    return [f"left out, since a number of theirs is not finite: {listed(list(found.values()), NAMED)}"]


def _summary(
    name: str,
    values: Sequence[RunValue],
    chosen: Mapping[str, Factor],
    beside: Sequence[Mapping[Key, float]],
    question: Question,
) -> GroupSummary:
    ordered = sorted(values, key=lambda value: (_order(value.factors), value.name, value.run))
    numbers = tuple(value.value for value in ordered)
    along = tuple(tuple(other[value.group, value.run] for value in ordered) for other in beside)
    low, high = (mean_interval(numbers) if numbers else None) or (None, None)
    return GroupSummary(
        name=name,
        n=len(numbers),
        mean=math.fsum(numbers) / len(numbers) if numbers else None,
        low=low,
        high=high,
        values=numbers,
        factors=tuple(dict(value.factors) for value in ordered),
        runs=tuple(value.run for value in ordered),
        chosen=dict(chosen),
        by=along[0] if question.by is not None else (),
        predictors=along if question.predictors is not None else (),
    )


def _order(factors: Mapping[str, Factor]) -> list[tuple[str, bool, float, str]]:
    """A sort key for factors of any type: numbers by size, then words."""
    return [
        (key, False, float(value), "") if isinstance(value, float | int) else (key, True, 0.0, str(value))
        for key, value in sorted(factors.items())
    ]


def _mixed(table: Table, number: Measured, question: Question, runs: pa.Array) -> list[str]:
    """Parts that `where` leaves together although their numbers mean different things."""
    counted = (pc.field("metric") == number.metric) & pc.field("run").isin(runs)
    for column in ALONG:
        if column not in number.where:
            counted = counted & pc.field(column).is_null()
    parts = table.rows.filter(counted).group_by(["tower", "component", "split"]).aggregate([])
    found: list[str] = []
    what = "the number" if len(question.numbers) == 1 else number.metric
    for column in ("tower", "component", "split"):
        values = sorted({value for value in parts[column].to_pylist() if value is not None})
        if len(values) > 1 and column not in number.where:
            found.append(f"{what} mixes {column} {listed(values, MIXED)}; 'where' can tell them apart")
    return found


def _warnings(question: Question, groups: Sequence[GroupSummary]) -> list[str]:
    found: list[str] = []
    if question.unit != "run" and not question.nested:
        mend = "'test: mixed_model' knows which belong to one run"
        found.append(
            f"{question.unit}s of one run are not replicates: they share its seed, data and training, "
            f"so this p-value is too small and this interval too narrow; "
            f"{mend if question.claim is None else 'compare runs instead'}"
        )
    if question.compare is not None:
        for group in groups:
            if len({factors.get("lr") for factors in group.factors}) > 1:
                found.append(
                    f"{group.name} mixes several learning rates; 'at: best' compares each group at its best, "
                    "'at: {lr: …}' at one"
                )
    return found
