"""A study's tables for a paper: its settings in numbers, and its answers, as LaTeX and as CSV.

The same table gives the same bytes.
"""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunescope.errors import TableError
from tunescope.report.answer_sheet import answer_sheet
from tunescope.report.formats import number
from tunescope.report.headlines import Headline, Setting, extremes, settings
from tunescope.report.latex import escaped, tabular
from tunescope.results.durable import replace
from tunescope.results.tablefile import inert
from tunescope.stats.finding import Effect
from tunescope.stats.verdict import Answer
from tunescope.stats.words import p_value

if TYPE_CHECKING:
    from tunescope.results.table import Table

NONE = "--"


@dataclass(frozen=True)
class _Spread:
    """Mean, standard deviation over runs where there are two, and how many there are."""

    mean: float
    deviation: float | None
    runs: int


def write(folder: Path, table: "Table", answers: Sequence[Answer], formats: Sequence[str]) -> list[Path]:
    """Write `settings` and `answers`, each as `.tex` and `.csv`; a study without questions has no answers.

    Args:
        folder: where; made if it is not there. Other files in it are left alone.
        table: what was measured.
        answers: in the order of the study's questions.
        formats: `latex`, `csv`.

    Returns:
        what was written, in order.

    Raises:
        TableError: the folder cannot be written.
    """
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in _files(table, answers, formats):
            replace(folder / name, text.encode())
            written.append(folder / name)
    except OSError as error:
        raise TableError(f"{folder}: tables cannot be written: {error.strerror or error}") from error
    return written


def _files(table: "Table", answers: Sequence[Answer], formats: Sequence[str]) -> Iterator[tuple[str, str]]:
    columns, found = settings(table)
    if "latex" in formats:
        yield "settings.tex", settings_latex(columns, found)
    if "csv" in formats:
        yield "settings.csv", _settings_csv(columns, found)
    if answers and "latex" in formats:
        yield "answers.tex", answers_latex(answers)
    if answers and "csv" in formats:
        yield "answers.csv", answer_sheet(answers)


def settings_latex(columns: Sequence[Headline], found: Sequence[Setting]) -> str:
    """A row for each setting: mean ± standard deviation over its runs, the best mean of a column bold."""
    header = ["setting", "$n$", *(_head(column) for column in columns)]
    best = [extremes(column, place, found) for place, column in enumerate(columns)]
    rows = [
        [
            escaped(setting.name),
            str(len(setting.runs)),
            *(_cell(column, setting, place, bold=best[place][row]) for place, column in enumerate(columns)),
        ]
        for row, setting in enumerate(found)
    ]
    notes = (
        "Mean and standard deviation over runs that differ in the seed alone; n runs, a number in brackets "
        "where fewer were measured. Bold: the best mean of a column, where one end is better.",
    )
    return tabular("lr" + "r" * len(columns), header, rows, notes)


def _head(column: Headline) -> str:
    return escaped(column.name) + (r" (\%)" if column.form == "percent" else "")


def _spread(setting: Setting, place: int) -> _Spread | None:
    values = setting.values[place]
    mean = setting.mean(place)
    if mean is None:
        return None
    squares = math.fsum((value - mean) ** 2 for value in values)
    deviation = math.sqrt(squares / (len(values) - 1)) if len(values) > 1 else None
    return _Spread(mean, deviation, len(values))


def _cell(column: Headline, setting: Setting, place: int, *, bold: bool) -> str:
    spread = _spread(setting, place)
    if spread is None:
        return NONE
    factor = 100 if column.form == "percent" else 1
    decimals = 1 if column.form == "percent" else 3
    text = f"{factor * spread.mean:.{decimals}f}"
    if spread.deviation is not None:
        text += f" \\pm {factor * spread.deviation:.{decimals}f}"
    fewer = "" if spread.runs == len(setting.runs) else f" ({spread.runs})"
    return (f"$\\mathbf{{{text}}}$" if bold else f"${text}$") + fewer


def _settings_csv(columns: Sequence[Headline], found: Sequence[Setting]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    heads = [f"{column.name}: {what}" for column in columns for what in ("mean", "sd", "n")]
    writer.writerow(["setting", "group", "runs", *map(inert, heads)])
    for setting in found:
        cells: list[float | None] = []
        for place in range(len(columns)):
            spread = _spread(setting, place)
            cells += [spread.mean, spread.deviation, spread.runs] if spread else [None, None, 0]
        writer.writerow([inert(setting.name), inert(setting.group), len(setting.runs), *cells])
    return stream.getvalue()


def answers_latex(answers: Sequence[Answer]) -> str:
    """A row for each answer: question, verdict, effect with its interval, p, corrected p, n, test."""
    header = ["question", "verdict", "effect", r"95\,\% interval", "$p$", "corrected $p$", "$n$", "test"]
    rows = [
        [
            escaped(answer.question.ask),
            escaped(answer.verdict),
            _effect(answer.effect),
            _interval(answer.effect),
            _p(answer.p),
            _p(answer.p_corrected),
            str(answer.n),
            escaped(answer.test) or NONE,
        ]
        for answer in answers
    ]
    corrections = dict.fromkeys(answer.correction for answer in answers if answer.correction)
    notes = (f"Corrected: {escaped('; '.join(corrections))}." if corrections else "No p was corrected.",)
    columns = r"p{0.28\textwidth}lp{0.16\textwidth}lrrrp{0.14\textwidth}"
    return tabular(columns, header, rows, notes)


def _effect(effect: Effect | None) -> str:
    if effect is None:
        return NONE
    unit = f" {effect.unit}" if effect.unit not in ("", "1") else ""
    return escaped(f"{effect.name} {number(effect.value)}{unit}")


def _interval(effect: Effect | None) -> str:
    if effect is None or effect.low is None or effect.high is None:
        return NONE
    return escaped(f"{number(effect.low)} to {number(effect.high)}")


def _p(p: float | None) -> str:
    return NONE if p is None else escaped(p_value(p).removeprefix("p ").removeprefix("= "))
