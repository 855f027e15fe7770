"""The page's attention maps as drawings for a paper: all models as they are, and how they came there."""

import textwrap
from dataclasses import replace

import altair as alt
import numpy as np

from tunescope.report.map_pictures import SIDE, heat, overlay, png, square
from tunescope.report.map_section import Section, pictured
from tunescope.report.maps import Grid

LOOKS_AT_MOST = 6
LETTERS, LINE = 15, 12  # of a line above a column; its height in pixels


def drawings(grid: Grid) -> list[tuple[str, str, alt.Chart]]:
    """Name, words and drawing of each."""
    grid = replace(grid, kinds=grid.kinds[:1])
    shown, kind = Section(grid), grid.kinds[0]
    ends = f"The darkest patches receive {kind.bottom:g} times as much or less, the brightest {kind.top:g}."
    words = f"What it looks at\n\n{shown.caption} {ends}"
    found = [("maps", words, _drawing(_models(grid), named=False))]
    if shares := grid.shares(LOOKS_AT_MOST):
        first = " (left)" if grid.images is not None else ""
        words = (
            f"What it looks at while it is tuned\n\nThe first image{first}, and where each model looks after "
            f"as many steps as stand above, last as it was published: {kind.label}. Colours are multiples of "
            f"an even share. {ends}"
        )
        found.append(("maps-over-steps", words, _drawing(_steps(grid, [*shares, None]), named=True)))
    return found


Cells = list[tuple[str, str, str]]  # row, column, picture


def _models(grid: Grid) -> Cells:
    kind, found = grid.kinds[0], []
    for i, image in enumerate(pictured(grid)):
        if image is not None:
            found.append((str(i), "image", png(np.asarray(square(image)))))
        for column in grid.columns:
            laid = overlay(image, heat(column.maps[kind.key][i], kind))
            found.append((str(i), column.name, png(laid)))
    return found


def _steps(grid: Grid, shares: list[float | None]) -> Cells:
    kind, shown, image = grid.kinds[0], Section(grid), pictured(grid)[0]
    found = []
    for column in grid.columns:
        if column.steps:
            if image is not None:
                found.append((column.name, "image", png(np.asarray(square(image)))))
            for share in shares:
                maps = column.at(kind.key, share)
                assert maps is not None
                found.append((column.name, shown.said(share), png(overlay(image, heat(maps[0], kind)))))
    return found


def _drawing(cells: Cells, named: bool) -> alt.Chart:
    """The pictures in their rows and columns; rows have their names beside them where they are `named`."""
    rows, columns = (list(dict.fromkeys(cell[place] for cell in cells)) for place in (0, 1))
    wrapped = {column: textwrap.wrap(column, LETTERS) or [""] for column in columns}
    lines = max(map(len, wrapped.values()))
    heads = {column: "\n".join([""] * (lines - len(parts)) + parts) for column, parts in wrapped.items()}
    above = alt.Axis(
        orient="top",
        labelAngle=0,
        labelExpr="split(datum.label, '\\n')",
        labelLimit=SIDE,
        labelLineHeight=LINE,
        labelPadding=4 + LINE * (lines - 1),  # lines are counted from the first one downwards
        domain=False,
    )
    beside = alt.Axis(labelLimit=240, domain=False, ticks=False, title=None) if named else None
    values = [{"row": row, "column": heads[column], "picture": picture} for row, column, picture in cells]
    return (
        alt.Chart(alt.Data(values=values))
        .mark_image(width=SIDE, height=SIDE)
        .encode(
            x=alt.X("column:N", sort=list(heads.values()), title=None, axis=above),
            y=alt.Y("row:N", sort=rows, axis=beside),
            url="picture:N",
        )
        .properties(width=alt.Step(SIDE + 4), height=alt.Step(SIDE + 4))
    )
