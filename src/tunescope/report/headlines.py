"""The few numbers that say what became of a setting, for the dashboard and for a paper's table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunescope.errors import TableError
from tunescope.report import charts, formats, frames
from tunescope.report.frames import Run
from tunescope.report.overview import Form
from tunescope.report.quality import ACCURACY, CORRELATION, SHIFTED, TEST
from tunescope.results.metric import Better, declared
from tunescope.stats.finding import Factor
from tunescope.stats.samples import best
from tunescope.stats.words import factors as said

if TYPE_CHECKING:
    from tunescope.results.table import Table

PRINTED = {"percent": formats.percent, "signed": formats.signed, "plain": formats.number}


@dataclass(frozen=True)
class Headline:
    """One number of a run.

    Args:
        name: what it is called.
        metric: its name in the table.
        where: which of its rows.
        magnitude: whether it is the mean of |value|.
        form: how it is printed.
    """

    name: str
    metric: str
    where: frames.Where | None
    magnitude: bool
    form: Form

    @property
    def better(self) -> Better:
        """The better end, as the metric declares it; a size of a change has none."""
        metric = declared().get(self.metric)
        return None if metric is None or self.magnitude else metric.better

    def text(self, value: float) -> str:
        """A value as it is printed."""
        return PRINTED[self.form](value)


HEADLINES = (
    Headline("test accuracy", ACCURACY.metric, TEST, False, "percent"),
    Headline("test Spearman", CORRELATION.metric, TEST, False, "plain"),
    Headline("zero-shot kept", charts.RETENTION, charts.ZERO_SHOT, False, "percent"),
    Headline("shift accuracy kept", charts.RETENTION, SHIFTED | {"component": "text"}, False, "percent"),
    Headline("shift accuracy", ACCURACY.metric, SHIFTED, False, "percent"),
    Headline("shift Spearman", CORRELATION.metric, SHIFTED, False, "plain"),
    Headline("|entropy change|, nats", frames.ENTROPY, None, True, "plain"),
    Headline("CKA with the base", "representation.cka", None, False, "plain"),
    Headline("trained share", "training.share", None, False, "percent"),
    Headline("traffic, of full tuning's", "federated.traffic", {"step": "*"}, False, "percent"),
)


@dataclass(frozen=True)
class Setting:
    """Runs that differ in the seed alone, or that one learning rate of a group has.

    Args:
        name: the setting, or the group.
        group: of the study.
        chosen: what was chosen on validation, such as `lr=0.001`; empty where there was nothing to choose.
        runs: that are done.
        values: for each headline of `found`, the numbers of the runs that have it.
    """

    name: str
    group: str
    chosen: str
    runs: tuple[Run, ...]
    values: tuple[tuple[float, ...], ...]

    def mean(self, place: int) -> float | None:
        """The mean of a headline; None where no run has it."""
        return frames.mean(self.values[place]) if self.values[place] else None


def settings(table: "Table") -> tuple[tuple[Headline, ...], list[Setting]]:
    """Every setting that has a run that is done, and the headlines that at least one run has."""
    cells: dict[str, list[Run]] = {}
    for run in frames.done(table):
        cells.setdefault(run.setting, []).append(run)
    return _found(table, [(name, runs[0].group, "", runs) for name, runs in cells.items()])


def groups_at_best(table: "Table") -> tuple[tuple[Headline, ...], list[Setting]]:
    """Every group that has a run that is done, at its learning rate with the best validation score.

    The choice is that of a question's `at: best`. A group of one learning rate, or whose runs were not
    scored on validation, has all its runs.
    """
    members = table.runs.to_pylist()
    cells: list[tuple[str, str, str, list[Run]]] = []
    for group in frames.groups(table):
        runs = [run for run in frames.done(table) if run.group == group]
        try:
            chosen = best(table, group, members)
        except TableError:  # nothing to choose by
            chosen = {}
        runs = [run for run in runs if all(run.factors.get(name) == v for name, v in chosen.items())]
        if runs:
            cells.append((group, group, _told(runs, chosen), runs))
    return _found(table, cells)


def _told(runs: Sequence[Run], chosen: Mapping[str, Factor]) -> str:
    """What was chosen, and what the runs still differ in."""
    names = dict.fromkeys(name for run in runs for name in run.factors if name not in ("seed", *chosen))
    several = {name: len({run.factors.get(name) for run in runs}) for name in names}
    parts = [f"over {count} values of {name}" for name, count in several.items() if count > 1]
    return ", ".join([*([said(chosen)] if chosen else []), *parts])


def extremes(headline: Headline, place: int, found: Sequence[Setting]) -> list[bool]:
    """Which settings have the best mean; nobody's is where neither end is better, or all are equal."""
    means = [setting.mean(place) for setting in found]
    known = [mean for mean in means if mean is not None]
    if headline.better is None or len(set(known)) < 2:
        return [False] * len(found)
    top = max(known) if headline.better == "higher" else min(known)
    return [mean == top for mean in means]


def _found(
    table: "Table", cells: Sequence[tuple[str, str, str, Sequence[Run]]]
) -> tuple[tuple[Headline, ...], list[Setting]]:
    read = [(h, frames.per_run(table, h.metric, h.where, magnitude=h.magnitude)) for h in HEADLINES]
    known: list[tuple[Headline, Mapping[str, float]]] = [(h, values) for h, values in read if values]
    found = [
        Setting(
            name,
            group,
            chosen,
            tuple(runs),
            tuple(tuple(values[run.id] for run in runs if run.id in values) for _, values in known),
        )
        for name, group, chosen, runs in cells
    ]
    return tuple(headline for headline, _ in known), found
