"""Which settings are held against which: ways of tuning on one task, and tasks under one way of tuning."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

from tunescope.stats.headwise import RunHeads
from tunescope.study.study import Study

Task = tuple[str, str, str]  # model, data, label
TASK = ("data", "label")  # the factors that say the task, where a group has several


def settings_of(runs: Sequence[RunHeads]) -> dict[str, list[RunHeads]]:
    """The runs of each setting, in their order."""
    found: dict[str, list[RunHeads]] = {}
    for run in runs:
        found.setdefault(run.setting, []).append(run)
    return found


def pairs(settings: Mapping[str, Sequence[RunHeads]], study: Study) -> list[tuple[str, str]]:
    """The pairs of settings that are worth holding against each other, the one to measure by first.

    Every setting against one of the first group on its task. Where that group has several, it is the one that
    has most factors in common with it, of these the one with the nearest learning rate, of these the first.
    And every two settings that differ in the task alone.

    Args:
        settings: of `settings_of`.
        study: says which task a run is on; a run that is not in it goes by its factors.
    """
    tasks = {m.name: (m.spec.model, m.spec.task.data, m.spec.task.label or "") for m in study.members()}
    first = {name: runs[0] for name, runs in settings.items()}
    task = {name: tasks.get(run.name) or _said(run) for name, run in first.items()}
    leading: dict[Task, str] = {}
    for name, run in first.items():
        leading.setdefault(task[name], run.group)
    found: list[tuple[str, str]] = []
    for name, run in first.items():
        if run.group != leading[task[name]]:
            held = [o for o in first if task[o] == task[name] and first[o].group == leading[task[name]]]
            found.append((min(held, key=lambda other: _distance(first[other], run)), name))
    for one, other in combinations(first, 2):
        same = first[one].group == first[other].group and _way(first[one]) == _way(first[other])
        if same and task[one][0] == task[other][0] and task[one] != task[other]:
            found.append((one, other))
    return found


def _said(run: RunHeads) -> Task:
    model, data, label = (str(run.factors.get(name, "")) for name in ("model", *TASK))
    return model, data, label


def _way(run: RunHeads) -> dict[str, object]:
    """How the model was tuned: every factor but the seed and the task."""
    return {name: value for name, value in run.factors.items() if name not in ("seed", *TASK)}


def _distance(one: RunHeads, other: RunHeads) -> tuple[int, float]:
    common = sum(other.factors.get(name) == value for name, value in _way(one).items())
    rates = [run.factors.get("lr") for run in (one, other)]
    a, b = (math.log(rate) if isinstance(rate, int | float) and rate > 0 else math.nan for rate in rates)
    return -common, math.inf if math.isnan(a - b) else abs(a - b)
