"""Clients that know a few classes each."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tunescope.errors import DataError
from tunescope.federated.partition import Partition, classes_of, numbered


class Pathological(Partition):
    """Gives each client exactly k classes, and deals each class out evenly among those that have it.

    Every class has an owner, and the numbers of owners differ by one at most.

    Source: McMahan et al. 2017 (arXiv 1602.05629), "pathological non-IID", whose shards of the
    sorted labels hold about two classes a client.

    Args:
        clients: how many.
        classes: k.

    >>> labels = np.repeat([0, 1, 2, 3], 5)
    >>> parts = Pathological(clients=2, classes=2).split(labels)
    >>> [len(set(labels[indices])) for indices in parts.values()]
    [2, 2]
    """

    kind: str = "pathological"
    source: ClassVar[str] = "McMahan et al. 2017, arXiv 1602.05629"
    clients: Annotated[int, Field(ge=1)] = 4
    classes: Annotated[int, Field(ge=1)] = 2

    def deal(
        self, labels: NDArray, domains: Sequence[str] | None, random: np.random.Generator
    ) -> dict[str, NDArray[np.int64]]:
        """Classes to clients, then examples to the owners of their class."""
        found = classes_of(labels, self.kind)
        asked = f"partition pathological: {self.clients} clients with {self.classes} classes each"
        if self.classes > len(found):
            raise DataError(f"{asked}, but there are {len(found)}; take a smaller `classes`")
        if self.clients * self.classes < len(found):
            raise DataError(
                f"{asked} cannot hold all {len(found)} classes; take more clients or a larger `classes`"
            )
        owners: list[list[int]] = [[] for _ in found]
        for client in range(self.clients):
            # The least owned first, ties broken at random: that way no class is left over at the end.
            owned = np.array([len(of) for of in owners])
            for place in np.lexsort((random.random(len(found)), owned))[: self.classes]:
                owners[place].append(client)
        parts: list[list[NDArray]] = [[] for _ in range(self.clients)]
        for label, of in zip(found, owners, strict=True):
            members = random.permutation(np.flatnonzero(labels == label))
            if len(members) < len(of):
                raise DataError(
                    f"{asked}: class {label} has {len(members)} examples for {len(of)} clients; take fewer "
                    "clients or a smaller `classes`"
                )
            for client, piece in zip(of, np.array_split(members, len(of)), strict=True):
                parts[client].append(piece)
        return numbered([np.concatenate(pieces) for pieces in parts])
