"""What happened while a run was tuned."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.results.row import Row
from tunescope.study.run import Converged
from tunescope.training.validation import Validated

Log = Callable[[dict[str, Any]], None]  # called with every line of the log
LOOKS_AT_MOST = 32  # whose arrays are kept


@dataclass
class History:
    """Rows for the table and lines for the log, in the order in which they came.

    Args:
        rows: `training.*`, and those of live monitors, for the table.
        log: one plain dict per step, per epoch and per event.
        stopped: why the tuning ended before its last step, if it did.
        looks: what a live monitor saw besides rows, by step and name.
    """

    rows: list[Row] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    stopped: str | None = None
    looks: dict[int, Mapping[str, NDArray]] = field(default_factory=dict)

    def step(
        self, step: int, epoch: int, loss: float, lr: float, norm: float, penalties: dict[str, float]
    ) -> None:
        """One optimiser step."""
        said: dict[str, Any] = {"step": step, "epoch": epoch, "loss": loss, "lr": lr, "grad_norm": norm}
        self.log.append(said | ({"penalties": penalties} if penalties else {}))
        self.rows += [Row("training.loss", loss, step=step), Row("training.lr", lr, step=step)]
        self.rows += [
            Row("training.penalty", part, component=kind, step=step) for kind, part in penalties.items()
        ]

    def validated(self, step: int, epoch: int, score: Validated) -> None:
        """The validation's score at the end of an epoch, or where the tuning stopped."""
        self.log.append({"step": step, "epoch": epoch, score.name: score.value})
        self.rows.append(Row(f"training.{score.name}", score.value, split="val", step=step, n=score.n))

    def saw(self, step: int, arrays: Mapping[str, NDArray]) -> None:
        """The arrays of a look; where they get too many every other look is let go, the first one stays.

        >>> history = History()
        >>> for step in range(0, 2 * LOOKS_AT_MOST):
        ...     history.saw(step, {"seen": np.array(step)})
        >>> list(history.looks) == list(range(0, 2 * LOOKS_AT_MOST, 2))
        True
        """
        kept = list(self.looks)
        if not arrays or (len(kept) > 1 and (step - kept[0]) % (kept[1] - kept[0])):
            return  # it lies between two that are kept
        self.looks[step] = arrays
        if len(kept) == LOOKS_AT_MOST:
            for other in kept[1::2]:
                del self.looks[other]

    def arrays(self) -> dict[str, NDArray]:
        """What was seen while tuning, for publishing; nothing where nothing was.

        Returns:
            `monitor.steps`, int64 [S]; `monitor.total`, the number of steps that were taken; and for every
            name that each look has `monitor.<name>` [S, …].
        """
        if not self.looks:
            return {}
        names = set.intersection(*(set(look) for look in self.looks.values()))
        total = max((line["step"] for line in self.log if "step" in line), default=0)
        found = {"monitor.steps": np.array(list(self.looks)), "monitor.total": np.array(total)}
        return found | {
            f"monitor.{name}": np.stack([look[name] for look in self.looks.values()])
            for name in sorted(names)
        }

    def converged(self, criterion: Converged) -> bool:
        """Whether the last epochs were no better than the best before them, but for `criterion.within`.

        The loss of an epoch is the mean over its steps. A run that was stopped before there was anything to
        compare has not converged.

        >>> lines = [{"epoch": epoch, "val_acc1": value} for epoch, value in enumerate([0.5, 0.7, 0.7])]
        >>> history = History(log=lines)
        >>> history.converged(Converged(metric="val_acc1", epochs=1, within=0.01))
        True
        >>> history.converged(Converged(metric="val_acc1", epochs=2, within=0.01))
        False
        """
        epochs: dict[int, list[float]] = {}
        for line in self.log:
            if criterion.metric in line:
                epochs.setdefault(line["epoch"], []).append(line[criterion.metric])
        sign = 1 if criterion.metric == "val_acc1" else -1
        values = [sign * sum(of) / len(of) for of in epochs.values()]
        before, last = values[: -criterion.epochs], values[-criterion.epochs :]
        return bool(before) and max(last) - max(before) <= criterion.within
