"""Clients that are one like the other."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tunescope.federated.partition import Partition, numbered


class IID(Partition):
    """Deals the examples out evenly, in random order: clients' sizes differ by one at most.

    Source: McMahan et al. 2017 (arXiv 1602.05629).

    Args:
        clients: how many.

    >>> [len(indices) for indices in IID(clients=3).split(np.zeros(8, int)).values()]
    [3, 3, 2]
    """

    kind: str = "iid"
    source: ClassVar[str] = "McMahan et al. 2017, arXiv 1602.05629"
    clients: Annotated[int, Field(ge=1)] = 4

    def deal(
        self, labels: NDArray, domains: Sequence[str] | None, random: np.random.Generator
    ) -> dict[str, NDArray[np.int64]]:
        """Even shares of one permutation."""
        return numbered(np.array_split(random.permutation(len(labels)), self.clients))
