"""How good a run is at its task, in one number: accuracy, or a correlation where numbers are predicted."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunescope.results.table import Table

PERCENT = "%"  # on an axis: with as many decimals as tell its ticks apart
TEST = {"split": "test", "component": "trained"}
SHIFTED = {"split": "shift:*", "component": "trained"}


@dataclass(frozen=True)
class Quality:
    """The number that charts show of how good a run is.

    Args:
        metric: its name in the table.
        name: as it stands in a sentence.
        axis: how an axis prints it.
        value: how a tooltip prints it.
        loss: what the training loss is, or its unit.
    """

    metric: str
    name: str
    axis: str
    value: str
    loss: str


ACCURACY = Quality("transfer.acc1", "accuracy", PERCENT, ".1%", "nats")
CORRELATION = Quality("transfer.spearman", "Spearman correlation", ".3~g", ".3f", "squared error")


def quality(table: "Table") -> Quality:
    """Accuracy, or Spearman's correlation where the table is of runs that predict numbers."""
    numbers = {CORRELATION.metric, "training.val_loss"}
    return ACCURACY if numbers.isdisjoint(table.metrics()) else CORRELATION
