"""The runs in somebody else's table: which rows belong to one, and what varies between them."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tunescope.errors import TableError
from tunescope.results.cells import Codes, codes, factor, given, joined, texts
from tunescope.results.columns import Columns
from tunescope.results.runs import Factor, runs_table
from tunescope.results.sheet import Sheet

MOST = 10_000  # runs; more rows than that are parts of runs, and not what answers are about
EVERY = "all"  # the group of runs whose table names none


@dataclass(frozen=True)
class Replicates:
    """The runs of a foreign table.

    Args:
        table: one row for each run, as `Table` wants them.
        of: for each row of the sheet, the place of its run in `table`.
        apart: the columns that tell the runs apart; empty = each row is one.
        unused: columns that vary within runs, and tell nothing apart.
    """

    table: pa.Table
    of: Codes
    apart: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The runs' names, which tell them apart too."""
        return self.table.column("run").to_pylist()


def replicates(sheet: Sheet, columns: Columns, sure: Collection[str]) -> Replicates:
    """Tell the runs of a sheet apart: by `run`, else by group, seed and factors, else each row is one.

    Where no column names the seed, none tells rows of a run apart and the table is wide, each row is a run.

    Args:
        sheet: what was read.
        columns: what each column says, with its factors settled.
        sure: the factors that somebody said are some; the others are what remained.

    Raises:
        TableError: a row without a group or a run; a run with two groups, seeds, or values of a factor; a
            column that may be a factor, or tell the rows of one run apart.
    """
    for column, what in ((columns.group, "a group"), (columns.run, "a run")):
        if column is not None:
            given(sheet, column, what)
    own = [name for name in (columns.group, columns.seed) if name is not None]
    varying = list(columns.factors or ())
    if columns.run is not None:
        apart = [columns.run]
    else:
        apart = [*own, *varying] if columns.seed or columns.within or columns.long else []
    rows = sheet.table.num_rows
    each = {name: codes(sheet.table.column(name)) for name in dict.fromkeys([*own, *varying, *apart])}
    numbered = columns.run is None and not (columns.seed or columns.within or columns.long)
    if columns.run is None and columns.seed is not None:
        _sure(sheet, columns, each, [name for name in varying if name not in sure])
    of = np.arange(rows) if numbered else joined([each[name] for name in apart], rows)
    first = np.unique(of, return_index=True)[1]
    if len(first) > MOST:
        raise TableError(
            f"{sheet.name}: {len(first):,} runs, told apart by {', '.join(apart) or 'rows'}, and at most "
            f"{MOST:,} are compared: answers are about runs, and these look like parts of them. Name the run "
            "with --run, and what tells its rows apart with --component, --layer, --step or the like"
        )
    unused: list[str] = []
    for name in () if columns.run is None else (*own, *varying):
        differs = np.flatnonzero(each[name] != each[name][first[of]])
        if len(differs) and name in varying and name not in sure:
            unused.append(name)
        elif len(differs):
            raise TableError(_two(sheet, columns, name, int(first[of[differs[0]]]), int(differs[0])))
    used = [name for name in varying if name not in unused]
    return Replicates(_table(sheet, columns, used, first, numbered), of, tuple(apart), tuple(unused))


def _sure(sheet: Sheet, columns: Columns, each: Mapping[str, Codes], unsure: Sequence[str]) -> None:
    """Refuse to guess whether rows of one group and seed are several runs, or parts of one."""
    same = [each[name] for name in (columns.group, columns.seed) if name is not None]
    of = joined(same, sheet.table.num_rows)
    first = np.unique(of, return_index=True)[1]
    for name in unsure:
        differs = np.flatnonzero(each[name] != each[name][first[of]])
        if len(differs):
            seen = sheet.cells(name, [int(first[of[differs[0]]]), int(differs[0])])
            flag = "--factors" if columns.group is not None else "--group or --factors"
            raise TableError(
                f"{sheet.name}: rows of one group and seed differ in {name!r}: {seen}. Two runs? Say so "
                f"with {flag} {name}. Parts of one run? Then with --layer {name}, or --head, --split, "
                "--component or --step. Or name the run with --run"
            )


def _two(sheet: Sheet, columns: Columns, name: str, first: int, other: int) -> str:
    assert columns.run is not None
    run = sheet.table.column(columns.run)[other].as_py()
    return (
        f"{sheet.name}: the run {run!r} has two values of {name!r}: {sheet.cells(name, [first, other])}; "
        f"runs are told apart by {columns.run!r}: give each a name of its own, or name another with --run"
        + ("" if name in (columns.group, columns.seed) else f", or leave {name!r} out of --factors")
    )


def _table(sheet: Sheet, columns: Columns, used: Sequence[str], first: Codes, numbered: bool) -> pa.Table:
    def values(column: pa.Array) -> list[Factor | None]:
        return column.take(pa.array(first)).to_pylist()

    groups = [EVERY] * len(first) if columns.group is None else values(texts(sheet, columns.group))
    said = {"seed": columns.seed} if columns.seed is not None else {}
    found = {name: values(factor(sheet, column)) for name, column in ({n: n for n in used} | said).items()}
    factors = [
        {name: value for name, value in zip(found, row, strict=True) if value is not None}
        for row in (zip(*found.values(), strict=True) if found else [()] * len(first))
    ]
    if columns.run is not None:
        names = values(texts(sheet, columns.run))
    elif numbered:
        names = [sheet.place(row) for row in first.tolist()]
    else:
        names = [_name(group, own) for group, own in zip(groups, factors, strict=True)]
    often = Counter(names)
    names = [
        name if often[name] == 1 else f"{name} ({sheet.place(row)})"
        for name, row in zip(names, first.tolist(), strict=True)
    ]
    records = [
        {
            "run": str(name),
            "study": sheet.name,
            "group": str(group),
            "name": str(name),
            "status": "done",
            "cause": None,
        }
        for name, group in zip(names, groups, strict=True)
    ]
    return runs_table(records, factors)


def _name(group: object, factors: Mapping[str, Factor]) -> str:
    said = (
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in factors.items()
    )
    return " ".join([str(group), *said])
