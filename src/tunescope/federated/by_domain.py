"""One client for each place that examples are from."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tunescope.errors import DataError
from tunescope.federated.partition import Partition


class ByDomain(Partition):
    """Makes every domain a client: each holds one style or one data set, a real shift of the features.

    Nothing is drawn; clients bear the names of the domains.

    Source: Li et al. 2021 (FedBN, arXiv 2102.07623).

    >>> parts = ByDomain().split(np.zeros(3, int), ["noto", "openmoji", "noto"])
    >>> {client: indices.tolist() for client, indices in parts.items()}
    {'noto': [0, 2], 'openmoji': [1]}
    """

    kind: str = "by_domain"
    source: ClassVar[str] = "Li et al. 2021, arXiv 2102.07623"

    def deal(
        self, labels: NDArray, domains: Sequence[str] | None, random: np.random.Generator
    ) -> dict[str, NDArray[np.int64]]:
        """By the names of the domains."""
        if domains is None or len(domains) != len(labels):
            said = "none is known" if domains is None else f"there are {len(domains)}"
            raise DataError(
                f"partition by_domain: a domain for each of {len(labels)} examples is needed, and {said}; "
                "name the data set of each client, or take iid, dirichlet or pathological"
            )
        names = np.array(domains, dtype=object)
        return {name: np.flatnonzero(names == name) for name in sorted(set(domains))}
