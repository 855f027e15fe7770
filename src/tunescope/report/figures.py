"""What the page shows below the answers, in order, with the words that go beside each chart."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tunescope.report import charts, frames
from tunescope.report.all_answers import answer_figures
from tunescope.report.convergence import convergence_figures
from tunescope.report.cost import cost
from tunescope.report.dynamics import dynamics_figures
from tunescope.report.federated_figures import federated_figures
from tunescope.report.federated_numbers import in_rounds
from tunescope.report.figure import Figure
from tunescope.report.head_figures import head_figures
from tunescope.report.heatmap import entropy_by_layer
from tunescope.report.landscape_figures import landscape_figures
from tunescope.report.moved_figures import FOLLOWING, before_figures
from tunescope.report.quality import quality
from tunescope.report.shifts import heads, shifts
from tunescope.report.sweeps import sweeps
from tunescope.stats.verdict import Answer

if TYPE_CHECKING:
    from tunescope.results.table import Table


FIGURES = (
    Figure(
        "entropy",
        "Attention entropy, layer by layer",
        "Change of attention entropy against the model before tuning, in nats, mean over the heads of a "
        "layer. Red: attention became narrower than before. Blue: it spread out. "
        "A mean near zero can hide heads that moved in opposite directions; the table of runs has the mean "
        "magnitude beside it.",
        "No change of attention entropy is in the table: the study has no attention probe, or no run of it "
        "was measured.",
        True,
        entropy_by_layer,
    ),
    Figure(
        "sweeps",
        "What each setting does",
        "A row for each setting that was varied: the learning rate, and any rank, number of blocks, weight "
        "of a penalty or the like that groups list. Each dot is one run; lines join the means of runs that "
        "differ in nothing else but the seed. What spans a decade is on a logarithmic scale, straight from 0 "
        "to the smallest number above it. Where a group has one value alone, its dots stand beside the lines "
        "of the others. Runs that failed are not drawn.",
        "There is no curve over settings: none was measured at two values.",
        True,
        sweeps,
    ),
    Figure(
        "trade-off",
        "What was gained, and what it cost",
        "Each dot is one run; a larger dot is a larger learning rate. To the right: better at the task "
        "it was tuned for. Higher: more of its zero-shot accuracy kept; the dashed "
        "line is the model before tuning.",
        "There is no zero-shot retention to set against the task: the study has no zero-shot task, or no run "
        "was measured on both.",
        False,
        charts.trade_off,
    ),
    Figure(
        "cost",
        "What each way of tuning trains, and takes",
        "Each dot is one run, a tick the mean of its group; the best at the task comes first. The trained "
        "share is on a logarithmic scale. Memory is what a step must hold: weights, gradients, the "
        "optimiser's state and the activations kept for the backward pass. Seconds differ between machines, "
        "and with what else one does.",
        "There is nothing to set side by side: fewer than two groups were carried out.",
        True,
        cost,
    ),
    Figure(
        "shifts",
        "Under a shift: is it the encoder or the head?",
        "Accuracy by setting, mean over seeds. Filled dots: read under the trained head. Open dots: the same "
        "tuned encoder under the original text head. A drop in both sits in the encoder; a drop under the "
        "trained head alone sits in the head. The dashed line is the model before "
        "tuning, under the text head.",
        "Nothing that was measured under a shift is in the table.",
        True,
        shifts,
    ),
    Figure(
        "training",
        "Training curves",
        "One thin line for each run, fainter for smaller learning rates. Long curves are means over equal "
        "stretches of steps.",
        "No training curves are in the table.",
        False,
        charts.training,
    ),
)


def figures(table: "Table", answers: Sequence[Answer]) -> tuple[Figure, ...]:
    """The parts of the page, in words that fit what was measured: all answers first."""
    shown = [*answer_figures(answers), *federated_figures(table), *before_figures(table)]
    for figure in _tuning(table):
        shown += [figure, *(FOLLOWING[figure.key](table) if figure.key in FOLLOWING else ())]
    shown += [*dynamics_figures(table), *convergence_figures(table)]
    return (*shown, *head_figures(table), *landscape_figures(table))


def _tuning(table: "Table") -> tuple[Figure, ...]:
    runs = frames.done(table)
    there = FIGURES
    if runs and {run.id for run in runs} <= in_rounds(table):  # whose curves go by rounds
        there = tuple(figure for figure in FIGURES if figure.key != "training")
    if heads(table) != {"trained"}:
        return there
    caption = (
        f"{quality(table).name.capitalize()} by setting, mean over seeds, read under the trained head. There "
        "is no text head to read the same encoder under, so a drop may sit in the encoder or in the head."
    )
    one_head = {"title": "Under a shift", "caption": caption}
    return tuple(replace(figure, **one_head) if figure.key == "shifts" else figure for figure in there)
