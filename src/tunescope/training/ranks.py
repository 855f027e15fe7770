"""The processes that share one run: each takes its part of every batch.

`torchrun` or `accelerate launch` starts them; accelerate joins them into one group (nccl, or gloo on CPUs).
"""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, reduce
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

LAUNCHED = "LOCAL_RANK"  # set by torchrun and accelerate launch
PATIENCE = timedelta(days=1)
Said = TypeVar("Said")


class Ranks:
    """One process among those that share its runs; alone where nobody launched more.

    Everything is the caller's own value, unchanged, where there is one process.
    """

    def __init__(self):
        launched = LAUNCHED in os.environ
        on_cpu = launched and not torch.cuda.is_available()
        # While the first process measures, the others wait: longer than the ten minutes that are the default.
        state = PartialState(cpu=on_cpu, **({"timeout": PATIENCE} if launched else {}))
        self.rank, self.world = state.process_index, state.num_processes
        self._state = state

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        assert self._state.device is not None
        return self._state.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and tells."""
        return self.rank == 0

    def share(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], float]:
        """The part of a batch that falls to this process, and the weight of its mean loss.

        The mean over processes of weight · loss is the loss of the whole batch. A batch smaller than
        the group leaves some without an example: they compute one for nothing.
        """
        if self.world == 1:
            return indices, 1.0
        mine = np.array_split(indices, self.world)[self.rank]
        return (mine, self.world * len(mine) / len(indices)) if len(mine) else (indices[:1], 0.0)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the processes, on each of them."""
        return value if self.world == 1 else reduce(value.detach().clone(), "mean")  # pyright: ignore[reportReturnType]

    def total(self, value: Tensor) -> Tensor:
        """The sum over the processes, on each of them."""
        return value if self.world == 1 else reduce(value.detach().clone(), "sum")  # pyright: ignore[reportReturnType]

    def agree(self, say: Callable[[], Said]) -> Said:
        """What the first process says; it alone is asked. What it raises is raised by all."""
        if self.world == 1:
            return say()
        said: Said | None = None
        error: Exception | None = None
        if self.first:
            try:
                said = say()
            except Exception as raised:  # the others wait for a word
                error = raised
        said, error = broadcast_object_list([said, error])
        if error is not None:
            raise error
        return said  # pyright: ignore[reportReturnType]

    def together(self, module: nn.Module) -> Callable[..., Tensor]:
        """The module's forward, its gradients averaged over the processes."""
        if self.world == 1:
            return module
        # Static: parameters that no step uses (DINOv2's mask token) are found once, not at every step.
        return DistributedDataParallel(module, static_graph=True)
