"""What tuning can move inside a model, and what comes of it, as one number a run: short names for axes."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tunescope.report import frames
from tunescope.report.charts import RETENTION, ZERO_SHOT
from tunescope.report.quality import PERCENT, SHIFTED, TEST, quality
from tunescope.results.metric import declared

if TYPE_CHECKING:
    from tunescope.results.table import Table


@dataclass(frozen=True)
class Measure:
    """One number of a run, or of a layer of it: the mean over everything else.

    Args:
        name: short, with its unit.
        metric: its name in the table.
        where: which of its rows.
        magnitude: mean of |value| instead of the signed mean.
        still: what it is where nothing was tuned; None = that differs.
        axis: how an axis prints it.
    """

    name: str
    metric: str
    where: frames.Where | None = field(default=None, hash=False)
    magnitude: bool = False
    still: float | None = 0.0
    axis: str = ".3~g"

    @property
    def within(self) -> tuple[float, float]:
        """The smallest and the largest value that there can be, as the metric declares them."""
        known = declared().get(self.metric)
        low, high = known.range if known else (None, None)
        low = 0.0 if self.magnitude else low
        return (-math.inf if low is None else low, math.inf if high is None else high)

    def per_run(self, table: "Table") -> dict[str, float]:
        """Identity of a run that is done → its number."""
        return frames.per_run(table, self.metric, self.where, magnitude=self.magnitude)


SIZE = Measure("mean |entropy change|, nats", frames.ENTROPY, magnitude=True)
MOVED = (
    SIZE,
    Measure("entropy change, nats", frames.ENTROPY),
    Measure("ERF95 change", "attention.erf95.change"),
    Measure("Gini change", "attention.gini.change"),
    Measure("head diversity change", "attention.head_diversity.change"),
    Measure("distance change, px", "attention.distance.change"),
    Measure("sink mass change", "attention.sink_mass.change"),
    Measure("CKA with the base", "representation.cka", still=1.0),
    Measure("representation drift", "representation.drift"),
    Measure("effective rank change", "representation.effective_rank.change"),
    Measure("relative weight change", "weights.update_relative"),
)
KEPT = Measure("zero-shot kept", RETENTION, ZERO_SHOT, still=1.0, axis=PERCENT)


def moved(table: "Table") -> list[Measure]:
    """What the table has of what can be moved."""
    metrics = set(table.metrics())
    return [measure for measure in MOVED if measure.metric in metrics]


def outcomes(table: "Table") -> list[Measure]:
    """What the table has of how good a tuned model is: at its task, zero-shot, and under a shift."""
    good = quality(table)
    text = SHIFTED | {"component": "text"}
    found = (
        Measure(f"test {good.name}", good.metric, TEST, still=None, axis=good.axis),
        KEPT,
        Measure(f"{good.name} under shift", good.metric, SHIFTED, still=None, axis=good.axis),
        Measure("shift kept, text head", RETENTION, text, still=1.0, axis=PERCENT),
    )
    return [measure for measure in found if measure.per_run(table)]
