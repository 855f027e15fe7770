"""One face for every way of putting clients' arrays together, Flower's and ours."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunescope.federated.job import Arrays, Config


class Answer(NamedTuple):
    """What one client sent back, looked at and found sound."""

    client: str
    arrays: Arrays
    metrics: Mapping[str, float]
    examples: int


class Memory(NamedTuple):
    """What has to be known of earlier rounds: arrays by name, and what JSON holds."""

    arrays: Mapping[str, NDArray]
    values: Mapping[str, Any]


class Combining(ABC):
    """What the server does in a round: whom it sends what, and what it makes of the answers."""

    def check(self, arrays: Arrays) -> None:  # noqa: B027  most work with anything
        """Refuse what the first round begins with, where this cannot work with it.

        Raises:
            TunescopeError: it cannot.
        """

    def tells(self, round: int, arrays: Arrays) -> Config:
        """What clients are told in a round, besides its number."""
        return {}

    def sends(self, round: int, arrays: Arrays, client: str) -> Arrays:
        """What one client is sent."""
        return arrays

    def expects(self, round: int, sent: Arrays) -> Arrays:
        """Which of the arrays that a client was sent it has to send back."""
        return sent

    def most(self) -> float | None:
        """The norm that no client's sound step is above, whatever the others'; None where theirs say it."""
        return None

    @abstractmethod
    def combine(
        self, round: int, arrays: Arrays, answers: Sequence[Answer]
    ) -> tuple[dict[str, NDArray], dict[str, float]]:
        """What the next round begins with, and numbers about how it came about.

        Args:
            round: from 1.
            arrays: what this round began with.
            answers: at least one, in the order of the clients' names.
        """

    def memory(self) -> Memory:
        """What a resumed server has to know besides the arrays."""
        return Memory({}, {})

    def recall(self, memory: Memory) -> None:  # noqa: B027  most remember nothing
        """Take up what `memory` said after an earlier round."""


def alike_or_kept(name: str, before: NDArray, answers: Sequence[Answer]) -> NDArray:
    """What is no number to average: what all clients say, and where they disagree what it was before.

    >>> said = [Answer(client, {"steps": np.int64(3)}, {}, 1) for client in "ab"]
    >>> int(alike_or_kept("steps", np.int64(0), said))
    3
    """
    first = answers[0].arrays[name]
    same = all(np.array_equal(answer.arrays[name], first) for answer in answers)
    return first if same else before
