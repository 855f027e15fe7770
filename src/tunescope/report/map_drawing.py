"""The page's grid of attention maps as one drawing, for a paper."""

import altair as alt

from tunescope.report.maps import SIDE, Grid


def drawing(grid: Grid) -> alt.Chart:
    """The pictures of the grid in its rows and columns."""
    pictures = [
        {"row": place, "column": column, "picture": picture.uri}
        for place, row in enumerate(grid.rows)
        for column, picture in zip(grid.columns, row, strict=True)
    ]
    above = alt.Axis(
        orient="top", labelAngle=0, labelExpr="split(datum.label, ' ')", labelLimit=SIDE, domain=False
    )
    return (
        alt.Chart(alt.Data(values=pictures))
        .mark_image(width=SIDE, height=SIDE)
        .encode(
            x=alt.X("column:N", sort=list(grid.columns), title=None, axis=above),
            y=alt.Y("row:O", axis=None),
            url="picture:N",
        )
        .properties(width=alt.Step(SIDE + 4), height=alt.Step(SIDE + 4))
    )
