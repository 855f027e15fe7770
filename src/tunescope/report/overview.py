"""The table of runs and the definitions of what was measured, as the page lists them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from tunescope.report import charts, frames
from tunescope.report.quality import ACCURACY, CORRELATION, SHIFTED, TEST, quality
from tunescope.results.metric import Derived, Metric, declared
from tunescope.study.study import Member, Study

if TYPE_CHECKING:
    from tunescope.results.table import Table

NOT_YET = "not carried out yet"
STOPPED, CONVERGED = "training.stopped", "training.converged"

Form = Literal["percent", "signed", "plain"]

_COLUMNS: tuple[tuple[str, str, frames.Where | None, bool, Form], ...] = (
    ("test accuracy", ACCURACY.metric, TEST, False, "percent"),
    ("test Spearman", CORRELATION.metric, TEST, False, "plain"),
    ("test Pearson", "transfer.pearson", TEST, False, "plain"),
    ("test squared error", "transfer.squared_error", TEST, False, "plain"),
    ("zero-shot kept", charts.RETENTION, charts.ZERO_SHOT, False, "percent"),
    ("shifts, trained head", ACCURACY.metric, SHIFTED, False, "percent"),
    ("shifts, text head", ACCURACY.metric, SHIFTED | {"component": "text"}, False, "percent"),
    ("shifts, Spearman", CORRELATION.metric, SHIFTED, False, "plain"),
    ("entropy change, nats", frames.ENTROPY, None, False, "signed"),
    ("its mean magnitude", frames.ENTROPY, None, True, "plain"),
    ("trained parameters", "training.trainable", None, False, "plain"),
    ("of all", "training.share", None, False, "percent"),
    ("seconds", "training.seconds", None, False, "plain"),
    ("memory, MiB", "training.memory", None, False, "plain"),
)


@dataclass(frozen=True)
class Line:
    """One run: who it is, how it ended, its headline numbers (None = not measured), what else to know."""

    name: str
    group: str
    status: str
    cause: str
    id: str
    values: tuple[float | None, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Overview:
    """The table of runs: the headline numbers that at least one run has, and a line for every run."""

    columns: tuple[tuple[str, Form], ...]
    lines: tuple[Line, ...]

    def count(self, status: str) -> int:
        """How many runs ended so."""
        return sum(line.status == status for line in self.lines)

    @property
    def noted(self) -> str:
        """How many of the runs that are done stopped early or did not converge, in words; empty for none."""
        words = ("stopped early", "did not converge")
        counts = {
            word: sum(any(n.startswith(word) for n in line.notes) for line in self.lines) for word in words
        }
        return ", ".join(f"{number} {word}" for word, number in counts.items() if number)

    @property
    def standing(self) -> str:
        """How many runs ended how, in words."""
        others = dict.fromkeys(line.status for line in self.lines if line.status != "done")
        statuses = dict.fromkeys(("failed", "missing", *others))
        done = f"{self.count('done')} done" + (f" ({self.noted})" if self.noted else "")
        return ", ".join([done, *(f"{self.count(status)} {status}" for status in statuses)])


def overview(table: "Table", study: Study) -> Overview:
    """Every run that the study asks for or the table has; what is in neither store nor table is `missing`."""
    found = [(column, frames.per_run(table, *column[1:3], magnitude=column[3])) for column in _COLUMNS]
    found = [(column, values) for column, values in found if values]
    runs = frames.runs(table)
    members = {member.name: member for member in study.members()}
    stopped, converged = (frames.per_run(table, metric) for metric in (STOPPED, CONVERGED))
    lines = [
        Line(
            run.name,
            run.group,
            run.status,
            run.cause or (NOT_YET if run.status == "missing" else ""),
            run.id,
            tuple(values.get(run.id) for _, values in found),
            tuple(_notes(stopped.get(run.id), converged.get(run.id), members.get(run.name))),
        )
        for run in runs
    ]
    there = {run.name for run in runs}
    lines += [
        Line(member.name, member.group, "missing", NOT_YET, "", (None,) * len(found))
        for member in members.values()
        if member.name not in there
    ]
    return Overview(tuple((column[0], column[4]) for column, _ in found), tuple(lines))


def _notes(stopped: float | None, converged: float | None, member: Member | None) -> Iterator[str]:
    """What a run did that its status does not say."""
    if stopped is not None:
        monitor = member.spec.train.monitor if member else None
        collapse = monitor.stop_on_collapse if monitor else None
        why = f", because {collapse.metric} fell below {collapse.below:g}" if collapse else ""
        yield f"stopped early after step {stopped:.0f}{why}"
    if converged == 0:
        yield "did not converge"


@dataclass(frozen=True)
class Definitions:
    """What was measured: declared metrics with the forms they come in, and names nobody declared."""

    metrics: tuple[tuple[Metric, tuple[str, ...]], ...]
    unknown: tuple[str, ...]


def definitions(table: "Table") -> Definitions:
    """The definition of every metric in the table, its derived forms beside it."""
    known = declared()
    if quality(table) is CORRELATION:  # whose loss is an error and no cross-entropy
        loss = known["training.loss"]
        known = known | {loss.name: replace(loss, unit="the labels' unit, squared")}
    forms: dict[str, list[str]] = {}
    unknown: list[str] = []
    for name in table.metrics():
        base, _, last = name.rpartition(".")
        if name not in known:
            unknown.append(name)
        elif last in get_args(Derived) and base in known:
            forms.setdefault(base, []).append(last)
        else:
            forms.setdefault(name, [])
    return Definitions(
        tuple((known[name], tuple(found)) for name, found in sorted(forms.items())), tuple(unknown)
    )
