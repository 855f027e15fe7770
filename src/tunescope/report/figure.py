"""One part of the page below the answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import altair as alt

if TYPE_CHECKING:
    from tunescope.results.table import Table


@dataclass(frozen=True)
class Figure:
    """One part of the page: charts, and the words beside them.

    Args:
        key: its anchor.
        title: its heading.
        caption: how to read it.
        absent: the sentence that stands there where the table has nothing to draw.
        wide: whether the chart scrolls sideways on a narrow page rather than shrink.
        draw: the charts, from the table.
    """

    key: str
    title: str
    caption: str
    absent: str
    wide: bool
    draw: "Callable[[Table], Sequence[alt.TopLevelMixin]]"
