"""What is federated, in plain Python: no Flower, no torch, only named arrays."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from numpy.typing import NDArray

Arrays = Mapping[str, NDArray]
Config = Mapping[str, int | float | str | bool]
Metrics = Mapping[str, float]


class Client(Protocol):
    """One holder of data."""

    def fit(self, arrays: Arrays, config: Config) -> tuple[Arrays, Metrics, int]:
        """Train for a round.

        Args:
            arrays: what the server has, by name.
            config: what the server says; always `round`, from 1, and `seed`.

        Returns:
            what was trained, under the names it came by; numbers about it; from how many examples.
        """
        ...

    def evaluate(self, arrays: Arrays, config: Config) -> tuple[Metrics, int]:
        """Measure what the server has on this client's data: numbers, and on how many examples."""
        ...


class Job(Protocol):
    """What is trained, and by whom."""

    @property
    def clients(self) -> Sequence[str]:
        """Names, the same wherever the job is made."""
        ...

    def initial(self) -> Arrays:
        """What the first round begins with."""
        ...

    def client(self, name: str) -> Client:
        """One of them; asked for anew for every message."""
        ...
