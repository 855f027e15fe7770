"""Which column of somebody else's table says what."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import pyarrow as pa

from tunescope.errors import TableError, nearest
from tunescope.results.sheet import Sheet
from tunescope.study.question import Question

OWN = ("group", "seed", "run")
TEXTS = ("tower", "component", "split")
COUNTED = ("layer", "head", "step", "point")
NUMERIC = ("seed", "metric", "factors", *COUNTED)  # whose cells are read as what they look like
WITHIN = (*TEXTS, *COUNTED)  # what tells the rows of one run apart
LONG = ("metric", "value")


@dataclass(frozen=True)
class Columns:
    """The columns of a foreign table by what they say; a table is wide, or long.

    Args:
        group: names the group of a run; None = all runs are in one group.
        seed: names the seed; runs of two groups with the same seed are pairs.
        run: names the run; None = the other columns tell runs apart, and where none does, each row is a run.
        metric: wide: the columns of numbers to ask about; None = all that say nothing else.
        long: long: the column that names a metric, and the one that holds its value.
        factors: what varies between runs; None = the remaining columns.
        tower, component, split, layer, head, step, point: tell the rows of one run apart.
    """

    group: str | None = None
    seed: str | None = None
    run: str | None = None
    metric: Sequence[str] | None = None
    long: tuple[str, str] | None = None
    factors: Sequence[str] | None = None
    tower: str | None = None
    component: str | None = None
    split: str | None = None
    layer: str | None = None
    head: str | None = None
    step: str | None = None
    point: str | None = None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """From what a caller said by name; a list may be a text with commas, `long` one with a colon.

        Raises:
            TableError: a name that no column has.

        >>> Columns.of({"metric": "loss,accuracy", "long": None}).metric
        ('loss', 'accuracy')
        """
        known = [field.name for field in fields(cls)]
        for name in said:
            if name not in known:
                raise TableError(f"a table's columns cannot be given as {name!r}; {nearest(name, known)}")
        found = {name: value for name, value in said.items() if value is not None}
        for name, mark in (("metric", ","), ("factors", ","), ("long", ":")):
            if name in found:
                value = found[name]
                parts = value.split(mark) if isinstance(value, str) else value
                found[name] = tuple(part.strip() for part in parts if part.strip())
        if "long" in found and len(found["long"]) != 2:
            raise TableError(
                f"'long' is the metric's column and the value's, as in metric:value; got {said['long']!r}"
            )
        return cls(**found)

    @property
    def within(self) -> dict[str, str]:
        """The columns that tell the rows of one run apart, by what they say."""
        return {name: said for name in WITHIN if (said := getattr(self, name)) is not None}

    @property
    def texts(self) -> set[str]:
        """The columns whose cells are names, even if they look like numbers."""
        metric, value = self.long or LONG
        named = {getattr(self, name) or name for name in ("group", "run", *TEXTS)}
        return (named | {metric}) - {name for what, name in self.said if what in NUMERIC} - {value}

    @property
    def said(self) -> Iterator[tuple[str, str]]:
        """What each column that is named says, and its name."""
        for field in fields(self):
            value = getattr(self, field.name)
            for name in [value] if isinstance(value, str) else value or ():
                yield field.name, name

    def in_names(self, sheet: Sheet) -> Self:
        """With the columns of a table that are called what they say, such as `group`, `seed` or `layer`."""
        taken = {name for _, name in self.said}
        free = {name for name in sheet.table.column_names if name not in taken}
        found = {
            name: name
            for name in (*OWN, *WITHIN)
            if name in free and getattr(self, name) is None and (name not in COUNTED or _numbers(sheet, name))
        }
        if self.long is None and self.metric is None and free.issuperset(LONG):
            return replace(self, **found, long=LONG)  # pyright: ignore[reportArgumentType]
        return replace(self, **found)  # pyright: ignore[reportArgumentType]

    def fitted(self, sheet: Sheet, questions: Sequence[Question]) -> Self:
        """With every column of a table settled: the factors and, in a wide table, the metrics too.

        Raises:
            TableError: a column that the table does not have, or one that would say two things.
        """
        names = sheet.table.column_names
        for what, name in self.said:
            if name not in names:
                raise TableError(
                    f"{sheet.name}: there is no column {name!r} (--{what}); {nearest(name, names)}"
                )
            if not _flat(sheet, name):
                kind = sheet.table.column(name).type
                raise TableError(f"{sheet.name}: the column {name!r} holds {kind}; expected numbers or texts")
        taken = [name for _, name in self.said]
        for _, name in self.said:
            if taken.count(name) > 1:
                said = " and ".join(f"--{other}" for other, same in self.said if same == name)
                raise TableError(f"{sheet.name}: the column {name!r} is {said}; a column says one thing")
        if self.long is not None and self.metric is not None:
            raise TableError("a table is wide (--metric) or long (--long), not both: give one of them")
        rest = [name for name in names if name not in taken and _flat(sheet, name)]
        if self.long is not None:
            return self if self.factors is not None else replace(self, factors=tuple(rest))
        asked = {number.metric for question in questions for number in question.numbers}
        held = {name for question in questions for name in (*question.held, *question.fixed)}
        metric = self.metric or [
            name for name in rest if name in asked or (_numbers(sheet, name) and name not in held)
        ]
        return replace(
            self,
            metric=tuple(metric),
            factors=tuple(name for name in rest if name not in metric)
            if self.factors is None
            else self.factors,
        )


def _flat(sheet: Sheet, name: str) -> bool:
    kind = sheet.table.column(name).type
    return _numbers(sheet, name) or any(
        known(kind) for known in (pa.types.is_string, pa.types.is_boolean, pa.types.is_null)
    )


def _numbers(sheet: Sheet, name: str) -> bool:
    kind = sheet.table.column(name).type
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)
