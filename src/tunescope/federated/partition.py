"""Who holds which examples: every example lies with exactly one client."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray
from pydantic import Field

from tunescope.errors import DataError
from tunescope.study.component import Component

Indices = Int64[np.ndarray, " n"]


class Partition(Component, ABC):
    """A way of dealing the training examples out to clients.

    Args:
        min_examples: that every client holds at least.
    """

    min_examples: Annotated[int, Field(ge=1)] = 1

    @abstractmethod
    def deal(
        self, labels: NDArray, domains: Sequence[str] | None, random: np.random.Generator
    ) -> dict[str, NDArray[np.int64]]:
        """Indices by client, in any order; each index once.

        Raises:
            DataError: it cannot be done with these labels and domains.
        """

    def split(
        self, labels: NDArray, domains: Sequence[str] | None = None, seed: int = 0
    ) -> dict[str, Indices]:
        """The examples of each client: the same for the same arguments, on every platform.

        Args:
            labels: of the examples, "n": classes, or numbers where nothing depends on classes.
            domains: where each example is from, such as its style or data reference.
            seed: of what is drawn.

        Returns:
            ascending indices by client, the clients in the order of their names. Every index from 0 to n − 1
            is in exactly one of them.

        Raises:
            DataError: a client would hold fewer than `min_examples`, or `deal` cannot do it.
        """
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, len(labels)])))
        dealt = self.deal(np.asarray(labels), domains, random)
        for client, indices in dealt.items():
            if len(indices) < self.min_examples:
                raise DataError(
                    f"partition {self.kind}: client {client!r} holds {len(indices)} of {len(labels)} "
                    f"examples; at least {self.min_examples} are asked for: take fewer clients or a smaller "
                    "min_examples"
                )
        return {client: np.sort(dealt[client]).astype(np.int64) for client in sorted(dealt)}


class Counted(NamedTuple):
    """How many examples of a label a client holds."""

    client: str
    label: str
    n: int


def counts(parts: Mapping[str, Indices], labels: NDArray, class_names: Sequence[str]) -> list[Counted]:
    """How many examples of each class every client holds, zeros included: what a plot of a partition shows.

    >>> counts({"a": np.array([0, 1]), "b": np.array([2])}, np.array([0, 1, 1]), ["cat", "dog"])[:2]
    [Counted(client='a', label='cat', n=1), Counted(client='a', label='dog', n=1)]
    """
    return [
        Counted(client, name, int(n))
        for client, indices in parts.items()
        for name, n in zip(class_names, np.bincount(labels[indices], minlength=len(class_names)), strict=True)
    ]


def numbered(parts: Sequence[NDArray]) -> dict[str, NDArray[np.int64]]:
    """Names for clients that are one like the other, whose order as text is that of their numbers.

    >>> list(numbered([np.array([0])] * 11))[:2]
    ['client-00', 'client-01']
    """
    width = len(str(len(parts) - 1))
    return {f"client-{i:0{width}}": np.asarray(part, dtype=np.int64) for i, part in enumerate(parts)}


def classes_of(labels: NDArray, kind: str) -> NDArray:
    """The classes that occur, ascending.

    Raises:
        DataError: the labels are numbers.
    """
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"partition {kind}: it deals by class, and the labels are {labels.dtype}; take iid or by_domain"
        )
    return np.unique(labels)
