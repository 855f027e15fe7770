"""The rounds of a federated run, kept as the checkpoints of other runs are."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tunescope.results.unfinished import Unfinished
from tunescope.training.checkpoint import BY

if TYPE_CHECKING:
    from tunescope.federated.keep import Kept

ROUNDS = "rounds.safetensors"


class KeptRounds:
    """The rounds of a run, kept as its checkpoint; those of other versions or threads do not count.

    Args:
        unfinished: of the run, whose claim this process holds.
        threads: that each client computes on; those of this process, if left out.
    """

    def __init__(self, unfinished: Unfinished, threads: int | None = None):
        self.unfinished = unfinished
        self.by = {"by": BY, "threads": threads or torch.get_num_threads()}

    def write(self, kept: "Kept") -> None:
        """Put this in the place of the round before."""
        from tunescope.federated.keep import KeptFile

        said = kept._replace(values={**kept.values, **self.by})
        self.unfinished.write(lambda folder: KeptFile(folder / ROUNDS).write(said))

    def read(self) -> "Kept | None":
        """The last round that is whole."""
        from tunescope.federated.keep import KeptFile

        folder: Path | None = self.unfinished.read()
        kept = None if folder is None else KeptFile(folder / ROUNDS).read()
        if kept is None or any(kept.values.get(name) != own for name, own in self.by.items()):
            return None
        return kept
