"""What a server keeps after each round, so that a killed one goes on to the same result."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from tunescope.errors import StoreError
from tunescope.results.durable import replace

ARRAYS, MEMORY = "arrays/", "memory/"


class Kept(NamedTuple):
    """The state after a round.

    Args:
        arrays: what the next round begins with.
        memory: what the way of combining remembers, such as moments.
        values: everything else, as JSON: the round's number, what was told of each round.
    """

    arrays: Mapping[str, NDArray]
    memory: Mapping[str, NDArray]
    values: Mapping[str, Any]


class Keep(Protocol):
    """Where it is kept."""

    def write(self, kept: Kept) -> None:
        """Put this in the place of what was kept before, whole or not at all."""
        ...

    def read(self) -> Kept | None:
        """What was kept last, if anything."""
        ...


class KeptFile:
    """One safetensors file, put in place at once; JSON is in its header.

    Args:
        path: the file; its folder is there.

    >>> import tempfile, numpy as np
    >>> kept = KeptFile(Path(tempfile.mkdtemp()) / "server.safetensors")
    >>> kept.write(Kept({"w": np.float32([1, 2])}, {}, {"round": 3}))
    >>> kept.read().arrays["w"].tolist(), kept.read().values
    ([1.0, 2.0], {'round': 3})
    """

    def __init__(self, path: Path):
        self.path = path

    def write(self, kept: Kept) -> None:
        from safetensors.numpy import save

        arrays = {ARRAYS + name: _plain(array) for name, array in kept.arrays.items()}
        arrays |= {MEMORY + name: _plain(array) for name, array in kept.memory.items()}
        replace(self.path, save(arrays, {"kept": json.dumps(kept.values)}))

    def read(self) -> Kept | None:
        """What was kept last, if anything.

        Raises:
            StoreError: the file is not one of these.
        """
        from safetensors import SafetensorError, safe_open

        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "numpy") as file:
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
                values = json.loads((file.metadata() or {})["kept"])
        except (SafetensorError, KeyError, ValueError) as error:
            raise StoreError(
                f"{self.path} is no checkpoint of federated rounds ({error}); expected what this program "
                "wrote there: remove it to begin with the first round"
            ) from error
        return Kept(_under(ARRAYS, found), _under(MEMORY, found), values)


def _plain(array: NDArray) -> NDArray:
    import numpy as np

    return np.ascontiguousarray(array).reshape(np.shape(array))  # safetensors writes memory as it lies


def _under(prefix: str, found: Mapping[str, NDArray]) -> dict[str, NDArray]:
    return {n.removeprefix(prefix): array for n, array in sorted(found.items()) if n.startswith(prefix)}
