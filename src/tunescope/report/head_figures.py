"""What the page shows of attention heads, with the words that go beside each chart.

A study without a probe of heads has none of these parts; nor is a part there that has nothing to draw.
"""

from typing import TYPE_CHECKING

from tunescope.report import (
    frames,
    head_agreement,
    head_compare,
    head_curves,
    head_maps,
    head_pruning,
    head_scatter,
    head_statistics,
    head_updates,
    heads,
)
from tunescope.report.figure import Figure, drawn, left_out
from tunescope.stats.headwise import headwise

if TYPE_CHECKING:
    from tunescope.results.table import Table

_MEAN = "Where a setting has several runs, a head's number is the mean over them."
_NOT_REPLICATES = "Heads of one run are not replicates of each other."


def head_figures(table: "Table") -> tuple[Figure, ...]:
    """The parts of the page about heads that the table has something for."""
    found = headwise(table)
    shown = heads.by_setting(found)
    groups = frames.groups(table)
    settings = list(dict.fromkeys(one.setting for one in found))
    embedded = len({one.setting for one in shown})

    def of(most: int) -> str:
        return left_out(len(settings), most)

    parts = (
        drawn(
            "heads",
            "Do the heads that matter move?",
            "One dot for each attention head of the setting that is selected. To the "
            "right: without this head the loss rises more. Higher: its weights moved more,"
            " relative to their size. Dashed: the quartiles of both. Red: important but "
            "static, in the top quarter of importance and the bottom quarter of updates. "
            "Blue: plastic but unimportant, the reverse. Beside their numbers stand those "
            f"to be expected if the two had nothing to do with each other. {_MEAN} "
            f"{_NOT_REPLICATES}" + of(embedded),
            False,
            head_scatter.against_update(shown),
        ),
        drawn(
            "head-statistics",
            "Do they, in every run?",
            "Each circle is one run, the unit of replication; a tick is the mean of a setting, a bar its "
            "95 % interval over runs, from three runs on. Spearman's ρ, over the heads of a run, of "
            "importance before tuning and relative update; the share of the most important quarter of "
            "heads that is among the quarter that moved most; the number of heads that are important but "
            "static or plastic but unimportant. Grey: what chance gives. Settings in which no head moved "
            "are not drawn." + of(head_statistics.SETTINGS_AT_MOST),
            True,
            head_statistics.matters_and_moves(found, groups),
        ),
        drawn(
            "head-comparison",
            "Two settings, side by side",
            _both(any(one.get(one.before) is not None for one in shown)) + of(embedded),
            True,
            head_compare.compare(shown),
        ),
        drawn(
            "head-maps",
            "Head by head",
            "One map for each setting, of the quantity that is selected; all maps share "
            "one scale of colours. What each quantity is stands under the definitions. "
            f"{_MEAN}" + of(embedded),
            True,
            head_maps.maps(shown),
        ),
        drawn(
            "head-before-after",
            "What a head is worth before tuning, and after",
            "One dot for each head. Above the dashed line the loss depends on it more than"
            " before tuning, below it less. Under the trained head, “before” means the "
            "features of the model before tuning, read under the head that was trained "
            f"later, so that both are losses on one task. {_MEAN}" + of(embedded),
            False,
            head_scatter.before_after(shown),
        ),
        drawn(
            "head-distribution",
            "How far heads moved",
            "The smallest, the quartiles and the largest relative update of a setting's "
            "heads, on a logarithmic scale; heads that did not move at all are counted on "
            f"hover. The spread is over heads, not over runs. {_MEAN}" + of(embedded),
            False,
            head_updates.distribution(shown, groups),
        ),
        drawn(
            "head-projections",
            "Which of their projections moved",
            "Relative update of the heads' rows of q, k and v and columns of o, mean over "
            "the heads of a layer. A projection that the method leaves alone has moved by "
            f"0. {_MEAN}" + of(embedded),
            False,
            head_updates.components(shown),
        ),
        drawn(
            "head-steps",
            "When they moved",
            "Relative update against the model before tuning, mean over the heads of a layer and the runs "
            "of the setting that is selected, at the steps at which a monitor looked."
            + of(head_curves.SETTINGS_AT_MOST),
            False,
            head_curves.over_steps(table),
        ),
        drawn(
            "head-agreement",
            "Do settings agree on the heads?",
            "Kendall's τ between the orders in which two settings put the heads, run by run at the same "
            "seed, mean over seeds; on hover its 95 % interval over seeds, from three on. On the diagonal:"
            " a setting with itself at another seed. Runs at the same seed share the order of their "
            "examples, so that two settings may agree more than one does with itself."
            + of(head_agreement.SETTINGS_AT_MOST),
            True,
            head_agreement.between_settings(found),
        ),
        drawn(
            "head-pruning",
            "What is left when heads are taken out",
            "Accuracy, or rank correlation where numbers are predicted, as heads are taken out by each "
            "ranking, the lowest first: a ranking is good where its curve stays up for long. Heads are "
            "ranked once, with all of them in, on other examples than those the model is read on. Lines: "
            "means over the runs of the setting that is selected. Bands: their 95 % interval over runs, "
            "from three on." + of(head_pruning.SETTINGS_AT_MOST),
            False,
            head_pruning.pruning(table),
        ),
        drawn(
            "head-proxies",
            "Would a cheaper measure have done?",
            "How well a ranking by the gradient of a head's gate, which costs one backward pass, agrees "
            "with taking each head out. Each circle is one run, a tick the mean of a group, a bar its 95 "
            "% interval over runs. At 1 the cheap one finds the same heads; grey: what chance gives.",
            True,
            head_statistics.proxies(table),
        ),
    )
    return tuple(part for part in parts if part.draw(table))


def _both(ablated: bool) -> str:
    """How to read two settings side by side; importance is there where heads were taken out."""
    above = (
        "Above: importance before tuning against relative update in the two settings that are selected, each "
        "on its own scales; red and blue as in the first chart of heads. Below, left"
    )
    left, right = (above, "Below, right") if ablated else ("Left", "Right")
    return (
        f"{left}: how many heads moved how far. {right}: each head's update in both settings that are "
        f"selected; on the dashed line it moved as far in one as in the other. {_MEAN} {_NOT_REPLICATES}"
    )
