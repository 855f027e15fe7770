"""Checkpoints within a run, from which it goes on as if nothing had happened."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from tunescope.results.row import Row
from tunescope.results.unfinished import Unfinished
from tunescope.training.history import History

BY = {name: version(name) for name in ("tunescope", "torch", "transformers", "peft")}


@runtime_checkable
class Resuming(Protocol):
    """Where a loop finds the state to go on from, and leaves its own when it is asked to stop."""

    @property
    def stopping(self) -> Callable[[], bool]: ...

    def due(self) -> bool: ...

    def save(
        self,
        step: int,
        state: Mapping[str, Tensor],
        optimizer: Optimizer,
        history: History,
        seconds: float,
    ) -> None: ...

    def restore(
        self, state: Mapping[str, Tensor], optimizer: Optimizer, history: History
    ) -> tuple[int, float]: ...


@dataclass
class Checkpoint:
    """Keeps the state of one run in its store, every so many seconds and when somebody asks to stop.

    What decides the steps to come is saved: what is trained, the method's buffers, the optimiser's moments,
    the step. The order of examples, augmentations and dropout derive from (seed, epoch, example) and
    (seed, step), so no random state is. All of it is safetensors and JSON.

    Args:
        unfinished: where; this process holds the run's claim.
        every: seconds between two checkpoints.
        stopping: asked after every step; True checkpoints and ends the tuning.
    """

    unfinished: Unfinished
    every: float = 60.0
    stopping: Callable[[], bool] = lambda: False

    def __post_init__(self):
        self.saved = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self.saved >= self.every

    def save(
        self,
        step: int,
        state: Mapping[str, Tensor],
        optimizer: Optimizer,
        history: History,
        seconds: float,
    ) -> None:
        """Keep the state after a step.

        Raises:
            StoreError: it cannot be written; the checkpoint before it stays.
        """
        tensors = {f"state/{name}": value.detach() for name, value in state.items()}
        moments: dict[str, dict[str, Any]] = {}
        for index, kept in optimizer.state_dict()["state"].items():
            moments[str(index)] = {}
            for key, value in kept.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{index}/{key}"] = value
                else:
                    moments[str(index)][key] = value
        said = {
            "by": BY,
            "step": step,
            "seconds": seconds,
            "rows": history.rows,  # as lists
            "log": history.log,
            "stopped": history.stopped,
            "optimizer": moments,
        }
        for at, look in history.looks.items():
            tensors |= {f"look/{at}/{name}": torch.from_numpy(array) for name, array in look.items()}
        copies = {name: value.to("cpu", copy=True).contiguous() for name, value in tensors.items()}

        def write(folder: Path) -> None:
            save_file(copies, folder / "state.safetensors")
            (folder / "state.json").write_text(json.dumps(said), encoding="utf-8")

        self.unfinished.write(write)
        self.saved = time.monotonic()

    def restore(
        self, state: Mapping[str, Tensor], optimizer: Optimizer, history: History
    ) -> tuple[int, float]:
        """Put everything back as the last checkpoint has it.

        Returns:
            the step after which it was saved, 0 where there is none that fits, and the seconds until then.
        """
        folder = self.unfinished.read()
        if folder is None:
            return 0, 0.0
        said = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "state.safetensors")
        shapes = {name: value.shape for name, value in tensors.items() if name.startswith("state/")}
        if shapes != {f"state/{name}": value.shape for name, value in state.items()} or said["by"] != BY:
            return 0, 0.0  # of another version of what made it: the run begins anew
        with torch.no_grad():
            for name, value in state.items():
                value.copy_(tensors[f"state/{name}"])
        moments: dict[int, dict[str, Any]] = {int(i): dict(kept) for i, kept in said["optimizer"].items()}
        for name, value in tensors.items():
            place, _, rest = name.partition("/")
            if place == "optimizer":
                index, _, key = rest.partition("/")
                moments[int(index)][key] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": moments, "param_groups": groups})
        history.rows[:] = [Row(*row) for row in said["rows"]]
        history.log[:] = said["log"]
        history.stopped = said["stopped"]
        history.looks.clear()
        history.looks.update(sorted(_looks(tensors).items()))
        return said["step"], said["seconds"]


def _looks(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, NDArray]]:
    """What a live monitor saw, by step and name."""
    found: dict[int, dict[str, NDArray]] = {}
    for key, value in sorted(tensors.items()):
        kind, _, rest = key.partition("/")
        if kind == "look":
            step, _, name = rest.partition("/")
            found.setdefault(int(step), {})[name] = value.numpy()
    return found
