"""What the page shows of what tuning moved inside the model and what came of it, with the words beside it.

A part with nothing to draw is not there.
"""

from typing import TYPE_CHECKING

from tunescope.report import by_layer, collapse, correlations, frames, structure, theme, zero_shot
from tunescope.report.figure import Figure, drawn, left_out

if TYPE_CHECKING:
    from tunescope.results.table import Table


def before_figures(table: "Table") -> tuple[Figure, ...]:
    """The part about the model before tuning."""
    figure = drawn(
        "structure",
        "Before tuning: attention, layer by layer",
        "The model as it was before any tuning, on the examples that structure is measured on. Dots are "
        "heads, mean over examples; the line joins their means.",
        False,
        structure.structure(table),
    )
    return _there(table, figure)


def layer_figures(table: "Table") -> tuple[Figure, ...]:
    """The part that sets ways of tuning against each other, layer by layer."""
    lines = len(by_layer.lines(table))
    figure = drawn(
        "by-layer",
        "Ways of tuning against each other, layer by layer",
        "Thick lines: change against the model before tuning, mean over heads and over the runs of a "
        "setting. Bands: the 95 % interval of that mean over runs, from three runs on; layers are no "
        "replicates. Thin lines: single runs, of as many measures as there is room for. Each group stands at "
        "the learning rate that is best on validation, as answers choose it with `at: best`; the select sets "
        "groups side by side at one rate instead. Where there are more settings than colours, two groups "
        "stand out, and the others are grey. Dashed: the model before tuning."
        + left_out(lines, by_layer.LINES_AT_MOST),
        True,
        by_layer.by_layer(table),
    )
    return _there(table, figure)


def kept_figures(table: "Table") -> tuple[Figure, ...]:
    """The parts about zero-shot accuracy."""
    settings = len({run.setting for run in frames.done(table)})
    many = theme.crowded(frames.groups(table))
    pair = "Two groups stand out, and the others are grey. " if many else ""
    return _there(
        table,
        drawn(
            "collapse",
            "Does zero-shot accuracy go where the inside moves?",
            "Each dot is one run. Across: what is selected of what moved inside the model, mean over layers "
            "and heads. Higher: more of its zero-shot accuracy kept. The cross is the model before tuning. "
            f"{pair}{collapse.told(table)} Much else differs between runs: what goes together need not be "
            "cause and effect.",
            False,
            collapse.collapse(table),
        ),
        drawn(
            "zero-shot",
            "Zero-shot accuracy kept, benchmark by benchmark",
            "Accuracy after tuning over that before it, under the head made of class names. Each circle is "
            "one run, a tick the mean of a setting, a bar its 95 % interval over runs, from three runs on. "
            "Dashed: all of it is kept. Lines that say 'adapter off' are the same runs with the adapter "
            "taken off again: that is not the model that was tuned, and what it keeps says nothing of it."
            + left_out(settings, zero_shot.SETTINGS_AT_MOST),
            True,
            zero_shot.zero_shot(table),
        ),
    )


def matrix_figures(table: "Table") -> tuple[Figure, ...]:
    """The part about which measurements go together."""
    figure = drawn(
        "correlations",
        "Which measurements say the same?",
        f"Spearman's ρ of every two measurements{correlations.told(table)}. Blue: they rise together; "
        "red: one falls as the other rises. Measurements that go together stand side by side. "
        "Within groups, runs are ranked among those of their own group, so that what the ways of tuning "
        "differ in stays out. What is the same in every run is left out. So many pairs are no tests: some "
        "are high by chance.",
        True,
        correlations.correlations(table),
    )
    return _there(table, figure)


def _there(table: "Table", *figures: Figure) -> tuple[Figure, ...]:
    return tuple(figure for figure in figures if figure.draw(table))


FOLLOWING = {
    "entropy": layer_figures,
    "trade-off": kept_figures,
    "shifts": matrix_figures,
}  # by key, what follows
