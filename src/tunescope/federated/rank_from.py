"""A rank that changes over the rounds."""

from collections.abc import Callable, Mapping

from numpy.typing import NDArray

from tunescope.federated.factors import Factors
from tunescope.federated.job import Arrays
from tunescope.federated.of_factors import OfFactors, added_of, factors_of, others_of, packed
from tunescope.federated.ranks import resized
from tunescope.federated.strategy import Strategy


class RankFrom(OfFactors):
    """A LoRA-aware strategy whose factors grow or shrink before some rounds.

    Growing leaves every product as it is; shrinking leaves the nearest of the lower rank (`ranks.shrink`).

    Args:
        strategy: how factors are put together.
        rank_from: the rank from a round on, by that round.
        scales: of every target's factors, by rank, such as α / r.
        seed: of rows that are drawn.
    """

    def __init__(
        self,
        strategy: Strategy,
        rank_from: Mapping[int, int],
        scales: Mapping[str, Callable[[int], float]],
        seed: int = 0,
    ):
        super().__init__(strategy, None, seed)
        self.rank_from, self.scales = rank_from, scales

    def next(self, round: int, target: str, before: Factors) -> tuple[int, float]:
        """The next round's rank, where there is one, and its scale."""
        rank = self.rank_from.get(round + 1)
        return super().next(round, target, before) if rank is None else (rank, self.scales[target](rank))


def at_rank(arrays: Arrays, rank: int, scale: float, seed: int = 0) -> dict[str, NDArray]:
    """The same arrays with all factors of one rank, their products as near as it allows.

    Args:
        arrays: as `of_factors` names them.
        rank: of all factors.
        scale: of all factors.
        seed: of rows that are drawn.

    >>> import numpy as np
    >>> one = packed({"q": Factors(np.diag([1.0, 3.0]), np.eye(2))}, {}, {})
    >>> factors_of(at_rank(one, 1, 1.0))["q"].product().round(12).tolist()
    [[0.0, 0.0], [0.0, 3.0]]
    """
    factors = {target: resized(of, rank, scale, seed) for target, of in factors_of(arrays).items()}
    return packed(factors, added_of(arrays), others_of(arrays))
