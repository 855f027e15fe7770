"""What the page shows of the landscape between base and tuned model, with the words beside each chart.

A study without a probe of the landscape has none of these parts; a part with nothing to draw is not there.
"""

from typing import TYPE_CHECKING

from tunescope.report import (
    frames,
    landscape_failure,
    landscape_layers,
    landscape_maps,
    landscape_paths,
    landscape_robustness,
    landscape_scatter,
)
from tunescope.report.figure import Figure, drawn, left_out

if TYPE_CHECKING:
    from tunescope.results.table import Table

PREFIX = "landscape."
_CHOSEN = "the α that does best on validation, and what it gives"


def landscape_figures(table: "Table") -> tuple[Figure, ...]:
    """The parts of the page about the landscape that the table has something for."""
    if not any(metric.startswith(PREFIX) for metric in table.metrics()):
        return ()
    settings = len({run.setting for run in frames.done(table)})
    parts = (
        drawn(
            "landscape-paths",
            "From the base to the tuned model, step by step",
            "Accuracy and loss of the model whose weights stand at α on the straight line from those "
            "before tuning (α = 0, open circle) to those after it (α = 1, filled circle). A line is a "
            f"setting, mean over its runs; fainter: smaller learning rates. Star: {_CHOSEN}, both "
            "means over the runs, so that it may stand beside the line. A line that rises above both "
            "its ends on the right: interpolation helps away from home."
            + left_out(settings, landscape_paths.SETTINGS_AT_MOST),
            True,
            landscape_paths.paths(table),
        ),
        drawn(
            "landscape-robustness",
            "Does being better at home mean being better away?",
            "Each filled dot is one run, as tuned. Lines: the path of a setting from the base (open "
            f"circle), mean over its runs. Star: {_CHOSEN}. To the right: better in distribution; "
            "higher: better under the shift. Above the dashed line a model does better away than at "
            "home. Both axes are logits, on which accuracies at home and away tend to lie on straight "
            "lines; what lies beyond 0.2 and 99.8 % is drawn there. Effective robustness is height "
            "above such a line through models that were tuned for nothing of the kind; none is drawn, "
            "since these runs are no such sample. Runs without a path are read on all examples, the "
            "others on those of the path." + left_out(settings, landscape_robustness.SETTINGS_AT_MOST),
            False,
            landscape_robustness.robustness(table),
        ),
        drawn(
            "landscape-failure",
            "Where interpolation fails",
            "The share of a group's runs in which no α does better under the shift than the model "
            "before tuning, and how many runs that is. Runs of a group may differ in their learning rate.",
            False,
            landscape_failure.failures(table),
        ),
        drawn(
            "landscape-gain",
            "Does sharpness tell what interpolation gains?",
            "Each dot is one run; larger: a larger learning rate. Higher: at the α chosen on "
            "validation, more is gained over the base under the shifts, on average; below the dashed "
            "line accuracy is lost. To the right: the tuned model lies in a sharper place, counting "
            "all weights of its tower on the left and those of the straggler layers alone on the "
            "right. Above: Spearman's ρ over runs with its 95 % interval, by Bonett and Wright. Learning "
            "rates and ways of tuning drive both numbers: where there is a second line, it is the one to "
            "believe. The study's own questions are answered at the top.",
            True,
            landscape_scatter.against_gain(table),
        ),
        drawn(
            "landscape-layers",
            "Which layers cannot be set back",
            "Left: one layer alone walks back to where it was before tuning, the rest stays as tuned; "
            "how high the loss climbs above the straight line between both ends. Right: what it costs "
            "to arrive. Bars are means over the runs of the setting that is selected, lines their 95 "
            "% interval, from three runs on. Red: in at least half of the runs a straggler by robust "
            "z; orange: not so, but among the largest. Layers of one run are not replicates of each "
            "other." + left_out(settings, landscape_layers.SETTINGS_AT_MOST),
            True,
            landscape_layers.barriers(table),
        ),
        drawn(
            "landscape-maps",
            "Where it is sharp",
            "How much the loss rises when the weights of one layer alone are moved, by layer and α, "
            "mean over the runs of a setting; where tuned models alone were measured, by setting and "
            "layer. Red: sharper. Colours go by the root of the number, so that small ones can be "
            "told apart." + left_out(settings, landscape_maps.SETTINGS_AT_MOST),
            True,
            landscape_maps.layer_maps(table),
        ),
    )
    return tuple(part for part in parts if part.draw(table))
