"""Answers as one flat table, for spreadsheets."""

import csv
import io
from collections.abc import Sequence

from tunescope.results.tablefile import inert
from tunescope.stats.finding import Effect
from tunescope.stats.verdict import Answer
from tunescope.stats.words import factors

EFFECTS = ("effect", "standardised", "detectable")


def answer_sheet(answers: Sequence[Answer]) -> str:
    """One row for each answer, as CSV that no spreadsheet executes; a cell without a number is empty.

    Columns: question, verdict, sentence, claim, metric, where; the effect, the standardised effect and the
    smallest that could have been found, each with value, both ends of its 95 % interval and unit; test, p,
    p_corrected, correction, n; groups with mean and number of values; what was left out; warnings.

    Args:
        answers: one at least.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    rows = [_row(found) for found in answers]
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow([inert(cell) if isinstance(cell, str) else cell for cell in row.values()])
    return stream.getvalue()


def _row(found: Answer) -> dict[str, str | float | int | None]:
    question = found.question
    row: dict[str, str | float | int | None] = {
        "question": question.ask,
        "verdict": found.verdict,
        "sentence": found.sentence,
        "claim": found.claim,
        "metric": question.metric,
        "where": factors(dict(question.where)),
    }
    for name in EFFECTS:
        effect: Effect | None = getattr(found, name)
        own = (
            (None,) * 5
            if effect is None
            else (effect.name, effect.value, effect.low, effect.high, effect.unit)
        )
        row |= dict(
            zip((name, *(f"{name}_{part}" for part in ("value", "low", "high", "unit"))), own, strict=True)
        )
    groups = [
        f"{group.name}: {'' if group.mean is None else repr(group.mean)} (n={group.n})"
        for group in found.groups
    ]
    return row | {
        "test": found.test,
        "p": found.p,
        "p_corrected": found.p_corrected,
        "correction": found.correction,
        "n": found.n,
        "groups": "; ".join(groups),
        "left_out": "; ".join(f"{n}: {cause}" for cause, n in found.left_out.items()),
        "warnings": "; ".join(found.warnings),
    }
