"""One look for every chart: colours that read on light and on dark paper, and no background of its own.

Text, axes and rules get their colours from the page's style sheet (Vega's SVG carries them as attributes,
which CSS overrides), so a chart follows the reader's light or dark setting without being drawn again.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt

Layers = alt.LayerChart | alt.FacetChart  # what `alt.layer` says that it gives

# Each has a contrast of at least 3:1 on the page's light and on its dark paper.
COLOURS = ("#2f7fd0", "#d0670c", "#1f9a63", "#b8529a", "#8a6ad8", "#8b8100", "#d1453f", "#11909f", "#7d838c")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")

FALL, STILL, RISE = "#a83a26", "#f5f2ec", "#245f9e"  # ends and middle of the diverging scale
REFERENCE = "#80868f"  # the base model's lines
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
NARROW = 270  # pixels: the legend of a chart of which three stand in a row
LETTER, SYMBOL, LABEL = 6.4, 26, 180  # pixels: a letter; a symbol and what is left free; the longest name
INK, LINE = "#3d4046", "#dedbd4"

CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": FONT,
    "padding": 4,
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": 500,
        "titlePadding": 8,
        "gridColor": LINE,
        "domain": False,
        "ticks": False,
        "labelPadding": 6,
        "labelLimit": 240,
    },
    "axisX": {"domain": True, "domainColor": LINE, "grid": False},
    "legend": {
        "orient": "top",
        "direction": "horizontal",
        "title": None,
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": 500,
        "labelLimit": LABEL,
        "columns": 4,
        "symbolStrokeWidth": 2,
        "offset": 8,
    },
    "header": {"labelColor": INK, "titleColor": INK, "labelFontSize": 11, "labelFontWeight": 600},
    "title": {"color": INK, "anchor": "start", "fontSize": 12, "fontWeight": 600, "offset": 10},
}


def crowded(drawn: Sequence[str]) -> bool:
    """Whether there are more groups than colours, so that a legend would tell nobody which is which."""
    return len(set(drawn)) > len(COLOURS)


def colour(groups: Sequence[str], drawn: Sequence[str], legend: Any = alt.Undefined) -> alt.Color:
    """A group's colour: its place among all groups of the study, the same in every chart.

    Args:
        groups: every group of the study, in order.
        drawn: the groups that this chart shows; only they stand in its legend, and nobody where they crowd.
        legend: settings of the legend; None = there is none.
    """
    scale = _scale(groups, drawn, COLOURS)
    return alt.Color("group:N", scale=scale, legend=_legend(scale.domain, legend))


def shape(groups: Sequence[str], drawn: Sequence[str]) -> alt.Shape:
    """A group's shape, for readers who do not tell the colours apart."""
    scale = _scale(groups, drawn, SHAPES)
    return alt.Shape("group:N", scale=scale, legend=_legend(scale.domain))


def by_layer(last: int) -> alt.Color:
    """A layer's colour, from the first to the last."""
    legend = alt.Legend(title="layer", gradientLength=140, gradientThickness=10, format="d", columns=12)
    scale = alt.Scale(domain=[0, max(1, last)], range=[COLOURS[1], COLOURS[0]])
    return alt.Color("layer:Q", scale=scale, legend=legend)


def in_columns(names: Sequence[str]) -> int:
    """In how many columns a legend of these names fits a narrow chart, at most four.

    >>> in_columns(["full", "lora"]), in_columns(["a name that is long", "another that is long"])
    (4, 1)
    """

    def width(columns: int) -> float:
        longest = (max(map(len, names[place::columns]), default=0) for place in range(columns))
        return sum(min(LABEL, size * LETTER) + SYMBOL for size in longest)

    return next((columns for columns in (4, 3, 2) if width(columns) <= NARROW), 1)


def _legend(names: Sequence[str], given: Any = alt.Undefined) -> Any:
    if given is None or crowded(names):
        return None
    columns = in_columns(names)
    if columns == CONFIG["legend"]["columns"]:
        return given
    legend = alt.Legend() if given is alt.Undefined else given.copy()
    legend["columns"] = columns
    return legend


def _scale(groups: Sequence[str], drawn: Sequence[str], values: Sequence[str]) -> alt.Scale:
    place = {group: values[i % len(values)] for i, group in enumerate(groups)}
    domain = [group for group in groups if group in set(drawn)]
    return alt.Scale(domain=domain, range=[place[group] for group in domain])


def spec(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The chart as Vega-Lite JSON in the house's look, not held against the schema."""
    return chart.to_dict(validate=False) | {"config": CONFIG}
