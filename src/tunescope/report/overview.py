"""The table of runs and the definitions of what was measured, as the page lists them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from tunescope.report import charts, frames
from tunescope.results.metric import Derived, Metric, declared
from tunescope.study.study import Study

if TYPE_CHECKING:
    from tunescope.results.table import Table

NOT_YET = "not carried out yet"

Form = Literal["percent", "signed", "plain"]

_COLUMNS: tuple[tuple[str, str, frames.Where | None, bool, Form], ...] = (
    ("test accuracy", charts.ACCURACY, charts.TEST, False, "percent"),
    ("zero-shot kept", charts.RETENTION, charts.ZERO_SHOT, False, "percent"),
    (
        "shifts, trained head",
        charts.ACCURACY,
        {"split": "shift:*", "component": "trained"},
        False,
        "percent",
    ),
    ("shifts, text head", charts.ACCURACY, {"split": "shift:*", "component": "text"}, False, "percent"),
    ("entropy change, nats", frames.ENTROPY, None, False, "signed"),
    ("its mean magnitude", frames.ENTROPY, None, True, "plain"),
    ("trained parameters", "training.trainable", None, False, "plain"),
    ("seconds", "training.seconds", None, False, "plain"),
)


@dataclass(frozen=True)
class Line:
    """One run: who it is, how it ended, and its headline numbers (None = not measured)."""

    name: str
    group: str
    status: str
    cause: str
    id: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Overview:
    """The table of runs: the headline numbers that at least one run has, and a line for every run."""

    columns: tuple[tuple[str, Form], ...]
    lines: tuple[Line, ...]

    def count(self, status: str) -> int:
        """How many runs ended so."""
        return sum(line.status == status for line in self.lines)


def overview(table: "Table", study: Study) -> Overview:
    """Every run that the study asks for or the table has; what is in neither store nor table is `missing`."""
    found = [(column, frames.per_run(table, *column[1:3], magnitude=column[3])) for column in _COLUMNS]
    found = [(column, values) for column, values in found if values]
    runs = frames.runs(table)
    lines = [
        Line(
            run.name,
            run.group,
            run.status,
            run.cause or (NOT_YET if run.status == "missing" else ""),
            run.id,
            tuple(values.get(run.id) for _, values in found),
        )
        for run in runs
    ]
    there = {run.name for run in runs}
    lines += [
        Line(member.name, member.group, "missing", NOT_YET, "", (None,) * len(found))
        for member in study.members()
        if member.name not in there
    ]
    return Overview(tuple((column[0], column[4]) for column, _ in found), tuple(lines))


@dataclass(frozen=True)
class Definitions:
    """What was measured: declared metrics with the forms they come in, and names nobody declared."""

    metrics: tuple[tuple[Metric, tuple[str, ...]], ...]
    unknown: tuple[str, ...]


def definitions(table: "Table") -> Definitions:
    """The definition of every metric in the table, its derived forms beside it."""
    known = declared()
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
