"""The table that somebody means: one of ours, or any file or data frame that holds runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunescope.errors import TableError
from tunescope.results.columns import Columns
from tunescope.results.foreign import foreign
from tunescope.results.sheet import read_sheet, sheet_of
from tunescope.results.table import Table
from tunescope.study.question import Question


def opened(
    source: Any,
    columns: Columns,
    questions: Sequence[Question],
    drop_nan: bool,
    tell: Callable[[str], None],
) -> Table:
    """A table, whatever it comes as.

    Args:
        source: a `Table`, the path of a file or of a folder that `tunescope report` wrote, or a data frame.
        columns: what the columns of a foreign table say.
        questions: what will be asked.
        drop_nan: let numbers of a foreign table that are not finite pass.
        tell: called with how a foreign table was understood.

    Raises:
        TableError: it cannot be read, or not as it was said to be.
    """
    own = isinstance(source, Table) or (isinstance(source, str | Path) and Path(source).is_dir())
    if not own:
        sheet = read_sheet(source, columns.texts) if isinstance(source, str | Path) else sheet_of(source)
        found = foreign(sheet, columns, questions, drop_nan)
        tell(found.said)
        return found.table
    for what, name in columns.said:
        raise TableError(
            f"--{what} {name} says what a column of a foreign table is; a table of tunescope's own needs none"
        )
    return source if isinstance(source, Table) else Table.read(source)
