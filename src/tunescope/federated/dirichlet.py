"""Clients that hold the classes in different shares."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tunescope.errors import DataError
from tunescope.federated.partition import Partition, classes_of, numbered

DRAWS = 1000  # of all shares, until every client has enough


class Dirichlet(Partition):
    """Deals each class out in shares drawn from Dirichlet(α, …, α) over the clients.

    With α → ∞ clients are alike, with α → 0 each class lies with one of them. Sizes differ, too. Shares are
    drawn again until every client holds `min_examples`.

    Source: Yurochkin et al. 2019 (arXiv 1905.12022); drawn again as by Li et al. 2021
    (arXiv 2102.02079).

    Args:
        clients: how many.
        alpha: α.

    >>> parts = Dirichlet(clients=2, alpha=1e6).split(np.repeat([0, 1], 50))
    >>> [len(indices) for indices in parts.values()]
    [50, 50]
    """

    kind: str = "dirichlet"
    source: ClassVar[str] = "Yurochkin et al. 2019, arXiv 1905.12022"
    clients: Annotated[int, Field(ge=1)] = 4
    alpha: Annotated[float, Field(gt=0)] = 0.5

    def deal(
        self, labels: NDArray, domains: Sequence[str] | None, random: np.random.Generator
    ) -> dict[str, NDArray[np.int64]]:
        """Each class in random order, cut where the shares say."""
        members = [random.permutation(np.flatnonzero(labels == c)) for c in classes_of(labels, self.kind)]
        counts = np.array([len(of) for of in members])
        cuts = self._cuts(counts, len(labels), random)
        pieces = [np.split(of, at) for of, at in zip(members, cuts, strict=True)]
        return numbered([np.concatenate([piece[i] for piece in pieces]) for i in range(self.clients)])

    def _cuts(self, counts: NDArray, total: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Where each class is cut, [classes, clients − 1]."""
        if total >= self.clients * self.min_examples:
            for _ in range(DRAWS):
                shares = random.dirichlet(np.full(self.clients, self.alpha), size=len(counts))
                ends = np.rint(np.cumsum(shares, axis=1)[:, :-1] * counts[:, None]).astype(np.int64)
                held = np.diff(ends, axis=1, prepend=0, append=counts[:, None]).sum(axis=0)
                if held.min() >= self.min_examples:
                    return ends
        raise DataError(
            f"partition dirichlet: alpha={self.alpha:g} never gave each of {self.clients} clients "
            f"{self.min_examples} of {total} examples; take a larger alpha, fewer clients or a smaller "
            "min_examples"
        )
