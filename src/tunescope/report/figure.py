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


def drawn(key: str, title: str, caption: str, wide: bool, charts: "Sequence[alt.TopLevelMixin]") -> Figure:
    """A part of the page whose charts are made, and that is left out where there are none."""
    return Figure(key, title, caption, "", wide, lambda _: charts)


def left_out(settings: int, most: int) -> str:
    """The sentence that says how many settings a chart has no room for.

    >>> left_out(30, 24), left_out(3, 24)
    (' Left out for room: 6 of 30 settings; the table has them all.', '')
    """
    left = settings - min(most, settings)
    return f" Left out for room: {left} of {settings} settings; the table has them all." if left else ""
