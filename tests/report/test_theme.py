import re
from importlib import resources

import altair as alt
import pytest

from tunescope.report import theme

CSS = (resources.files("tunescope.report") / "page" / "report.css").read_text(encoding="utf-8")
SCHEMES = {"light": CSS.split("@media")[0], "dark": CSS.split("dark) {")[1].split("@media")[0]}


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def variables(scheme: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", SCHEMES[scheme]))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("colour", [*theme.COLOURS, theme.REFERENCE])
def test_marks_stand_out_on_both_papers(scheme, colour):
    assert contrast(colour, variables(scheme)["paper"]) >= 3


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("ink", "paper"),
    [("ink", "paper"), ("soft", "paper"), ("link", "paper"), ("no", "paper"), ("open", "paper")]
    + [(verdict, f"{verdict}-wash") for verdict in ("yes", "no", "open", "none")],
)
def test_words_can_be_read(scheme, ink, paper):
    found = variables(scheme)
    assert contrast(found[ink], found[paper]) >= 4.5


def test_numbers_can_be_read_on_the_heatmap():
    for end in (theme.FALL, theme.RISE):
        assert contrast("#ffffff", end) >= 4.5
    assert contrast("#2a2c30", theme.STILL) >= 4.5


def test_more_groups_than_colours_go_round_again():
    groups = [f"g{i}" for i in range(len(theme.COLOURS) + 1)]
    scale = (
        alt.Chart()
        .mark_point()
        .encode(color=theme.colour(groups, groups))
        .to_dict()["encoding"]["color"]["scale"]
    )
    assert scale["range"][0] == scale["range"][-1]


def test_a_legend_has_as_many_columns_as_fit():
    def legend(*names, **given):
        encoding = {"color": theme.colour(names, names, **given), "shape": theme.shape(names, names)}
        found = alt.Chart().mark_point().encode(**encoding).to_dict()["encoding"]
        return [found[channel].get("legend") for channel in ("color", "shape")]

    assert legend("full", "lora") == [None, None]  # as the house has it: four
    assert legend("naive", "ffa", "rolora", "fedex", "flora", "pooled", "alone", "naive-skewed") == [
        {"columns": 3},
        {"columns": 3},
    ]
    wide = "a name that is far too long for any column of a chart"
    assert legend(wide, "b", "c", "d", legend=alt.Legend(symbolOpacity=1)) == [
        {"columns": 2, "symbolOpacity": 1},
        {"columns": 2},
    ]
    assert legend(wide, wide + "!") == [{"columns": 1}, {"columns": 1}]


def test_a_legend_names_only_what_is_drawn():
    chart = alt.Chart().mark_point().encode(color=theme.colour(["a", "b", "c"], ["c", "a"]))
    assert chart.to_dict()["encoding"]["color"]["scale"] == {
        "domain": ["a", "c"],
        "range": [theme.COLOURS[0], theme.COLOURS[2]],
    }
