"""The moments of clients' optimisers from one round to the next, in memory or in a folder."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Moments = dict[str, dict[str, Any]]  # by parameter, then by what the optimiser calls it


class KeptMoments:
    """What the optimisers of clients knew at the end of each one's last two rounds.

    Of two, since the last one is tuned again where a server was killed.

    Args:
        clients: their names, in the order that all processes know.
        folder: where they are kept; None keeps them in memory.
    """

    def __init__(self, clients: Sequence[str], folder: Path | None = None):
        self.clients, self.folder = clients, folder
        self._held: dict[str, dict[int, Moments]] = {}

    def last(self, client: str, before: int) -> int | None:
        """The last round before this one from which a client's are kept."""
        return max((number for number in self._rounds(client) if number < before), default=None)

    def read(self, client: str, before: int) -> Moments:
        """A client's at the end of its last round before this one; empty where there is none."""
        last = self.last(client, before)
        if last is None:
            return {}
        if self.folder is None:
            return self._held[client][last]
        return of_tensors(load_file(self._file(client, last)))

    def write(self, client: str, round: int, moments: Moments) -> None:
        """Keep a client's at the end of a round, and those of its round before."""
        old = sorted(number for number in self._rounds(client) if number < round)[:-1]
        if self.folder is None:
            held = self._held.setdefault(client, {})
            held[round] = moments
            for number in old:
                del held[number]
            return
        file = self._file(client, round)
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_name("new")
        save_file(as_tensors(moments), aside)
        aside.replace(file)
        for number in old:
            self._file(client, number).unlink()

    def _rounds(self, client: str) -> list[int]:
        if self.folder is None:
            return list(self._held.get(client, ()))
        return [int(path.stem) for path in self._file(client, 0).parent.glob("*.safetensors")]

    def _file(self, client: str, round: int) -> Path:
        assert self.folder is not None
        place = f"{zlib.crc32(client.encode()):08x}-{self.clients.index(client)}"
        return self.folder / place / f"{round}.safetensors"


def as_tensors(moments: Moments) -> dict[str, Tensor]:
    """Moments as one dictionary of tensors, for a file: `<key>/<parameter>`.

    >>> as_tensors({"encoder.w": {"step": torch.tensor(3.0)}})
    {'step/encoder.w': tensor(3.)}
    """
    return {
        f"{key}/{name}": torch.as_tensor(value).contiguous()
        for name, kept in moments.items()
        for key, value in kept.items()
        if value is not None
    }


def of_tensors(tensors: Mapping[str, Tensor]) -> Moments:
    """The moments in such a dictionary."""
    found: Moments = {}
    for place, value in tensors.items():
        key, _, name = place.partition("/")
        found.setdefault(name, {})[key] = value
    return found
