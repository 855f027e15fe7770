"""The dashboard on top of the page: each group at its best, in a line, and each answer in a line."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunescope.report import charts, frames
from tunescope.report.headlines import Headline, Setting, extremes, groups_at_best
from tunescope.report.quality import TEST, quality
from tunescope.stats.verdict import Answer
from tunescope.stats.words import count, listed

if TYPE_CHECKING:
    from tunescope.results.table import Table

GROUPS_AT_MOST = 12


@dataclass(frozen=True)
class Cell:
    """One number of a group.

    Args:
        text: the mean over the group's runs, as it is printed; empty where nothing was measured.
        share: its place between 0 and the largest of the column, 0…1; None where there is no bar.
        best: whether it is the best mean of the column.
        runs: how many runs it is the mean of, where these are not all of the group's.
    """

    text: str
    share: float | None
    best: bool
    runs: int | None


@dataclass(frozen=True)
class Line:
    """One group: what was chosen for it on validation, how many runs that left, and its numbers."""

    group: str
    chosen: str
    runs: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Dashboard:
    """What the page says first.

    Args:
        sentences: what was gained and what was kept, in means.
        columns: the headlines of the table.
        lines: one a group.
        left_out: how many groups there is no room for.
        answers: question, verdict, and place in the answers, from 1.
    """

    sentences: tuple[str, ...]
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    left_out: int
    answers: tuple[tuple[str, str, int], ...]


def dashboard(table: "Table", answers: Sequence[Answer]) -> Dashboard | None:
    """The groups at their best validation score and the answers; None where no run is done.

    Of more than `GROUPS_AT_MOST` groups those that are best at the task stay, in the study's order.
    """
    columns, found = groups_at_best(table)
    if not found:
        return None
    shown = _fitting(table, columns, found)
    best = [extremes(column, place, found) for place, column in enumerate(columns)]
    lines = tuple(
        Line(
            setting.group,
            setting.chosen,
            len(setting.runs),
            tuple(
                _cell(setting, shown, place, best[place][found.index(setting)], column)
                for place, column in enumerate(columns)
            ),
        )
        for setting in shown
    )
    return Dashboard(
        tuple(_sentences(table, columns, found, answers)),
        tuple(column.name for column in columns),
        lines,
        len(found) - len(shown),
        tuple((answer.question.ask, answer.verdict, place) for place, answer in enumerate(answers, 1)),
    )


def _fitting(table: "Table", columns: Sequence[Headline], found: list[Setting]) -> list[Setting]:
    task = _column(columns, quality(table).metric, TEST)
    if len(found) <= GROUPS_AT_MOST:
        return found
    reached = [0.0 if task is None else setting.mean(task) or 0.0 for setting in found]
    best = sorted(range(len(found)), key=lambda place: -reached[place])[:GROUPS_AT_MOST]
    return [found[place] for place in sorted(best)]


def _column(columns: Sequence[Headline], metric: str, where: frames.Where) -> int | None:
    places = (i for i, column in enumerate(columns) if (column.metric, column.where) == (metric, where))
    return next(places, None)


def _cell(setting: Setting, shown: Sequence[Setting], place: int, best: bool, headline: Headline) -> Cell:
    mean = setting.mean(place)
    if mean is None:
        return Cell("", None, False, None)
    means = [other.mean(place) or 0.0 for other in shown]
    top = max(means)
    share = None if min(means) < 0 or not top else round(mean / top, 3)
    number = len(setting.values[place])
    return Cell(headline.text(mean), share, best, None if number == len(setting.runs) else number)


def _sentences(
    table: "Table", columns: Sequence[Headline], found: Sequence[Setting], answers: Sequence[Answer]
) -> list[str]:
    good = quality(table)
    task, kept = _column(columns, good.metric, TEST), _column(columns, charts.RETENTION, charts.ZERO_SHOT)
    said: list[str] = []
    if task is not None:
        said.append(_gain(columns[task], good.name, found, task, kept))
    if kept is not None:
        said.append(_keep(columns[kept], found, kept, task))
    sentence = " ".join(sentence for sentence in said if sentence)
    if answers:
        verdicts = Counter(answer.verdict for answer in answers)
        counts = listed([f"{number} “{verdict}”" for verdict, number in verdicts.items()])
        asked = f"What a test says is in the {count(len(answers), 'answer')}: {counts}."
        tail = f"These are means over runs. {asked}"
    else:
        tail = "These are means over runs; the study asked nothing that would test a difference between them."
    return [part for part in (sentence, tail) if part]


def _most(found: Sequence[Setting], place: int) -> list[Setting]:
    """The settings of the highest mean: several where they are equal."""
    means = {setting.name: mean for setting in found if (mean := setting.mean(place)) is not None}
    return [setting for setting in found if means and means.get(setting.name) == max(means.values())]


def _text(headline: Headline, setting: Setting, place: int) -> str:
    mean = setting.mean(place)
    return "" if mean is None else headline.text(mean)


def _gain(headline: Headline, name: str, found: Sequence[Setting], task: int, kept: int | None) -> str:
    top = _most(found, task)
    if len(top) != 1:
        return ""
    reached = f"{top[0].name} reached {_text(headline, top[0], task)} test {name}"
    rivals = [setting for setting in found if setting.mean(task) is not None]
    lead = "" if len(rivals) < 2 else f", the highest mean of {len(rivals)} groups"
    share = None if kept is None else top[0].mean(kept)
    loss = "" if share is None else f", and kept {100 * share:.0f} % of its zero-shot accuracy"
    return f"{reached}{lead}{loss}."


def _keep(headline: Headline, found: Sequence[Setting], kept: int, task: int | None) -> str:
    top = _most(found, kept)
    rivals = [setting for setting in found if setting.mean(kept) is not None]
    if len(top) != 1 or len(rivals) < 2:
        return ""
    if task is not None and _most(found, task) == top:
        return "No other group kept more of it on average."
    share = top[0].mean(kept) or 0.0
    return f"{top[0].name} kept the most on average: {100 * share:.0f} %."
