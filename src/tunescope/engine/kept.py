"""What a run has measured before it was killed: one file for each key, whole or not there."""

import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tunescope.probes.kept import Make
from tunescope.results.durable import replace
from tunescope.results.unfinished import MEASURED, Unfinished
from tunescope.results.writing import writing
from tunescope.training.checkpoint import BY


class OnDisk:
    """Remembers below a run's checkpoints, so that a run that is killed goes on with what it has measured.

    A file is believed only if its bytes are those that were written, for the same key and model, by the same
    versions of tunescope, torch, transformers and peft, with as many threads: all of them decide last bits.

    Args:
        unfinished: of the run, whose claim this process holds.
        which: the subject: `base`, `active`, `base_only`.
        model: tells the model from every other one that the run may have had; asked once, when it is needed.
    """

    def __init__(self, unfinished: Unfinished, which: str, model: Callable[[], str]):
        self._unfinished, self._which, self._model = unfinished, which, model

    def __call__(self, key: str, make: Make) -> dict[str, np.ndarray]:
        """The arrays of a key, as `Kept` has it.

        Raises:
            StoreError: the disk is full, or may not be written.
        """
        said = self._by | {"key": key}
        path = self._path(key)
        found = _read(path, said)
        if found is None:
            found = {name: np.ascontiguousarray(array) for name, array in make().items()}
            what = f"keep what has been measured of run {self._unfinished.run_id[:16]}"
            with writing(self._unfinished.root, what):
                path.parent.mkdir(parents=True, exist_ok=True)
                replace(path, save(found, said | {"sha256": _digest(found)}))
        return found

    def forget(self, key: str) -> None:
        """Have the arrays of a key made anew at the next asking."""
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"

    @property
    def _folder(self) -> Path:
        return self._unfinished.folder / MEASURED / self._which

    @cached_property
    def _by(self) -> dict[str, str]:
        return {"by": json.dumps(BY), "threads": str(torch.get_num_threads()), "model": self._model()}


def fingerprint(state: dict[str, torch.Tensor]) -> str:
    """The sha256 of tensors and their names."""
    return _digest(
        {name: tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy() for name, tensor in state.items()}
    )


def _read(path: Path, said: dict[str, str]) -> dict[str, np.ndarray] | None:
    try:
        with safe_open(path, "numpy") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
            metadata = file.metadata() or {}
    except (OSError, SafetensorError):
        return None
    return found if metadata == said | {"sha256": _digest(found)} else None


def _digest(arrays: dict[str, np.ndarray]) -> str:
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype} {array.shape}\n".encode())
        found.update(array.tobytes())
    return found.hexdigest()
