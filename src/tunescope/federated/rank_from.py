"""A rank that changes over the rounds."""

from collections.abc import Callable, Mapping, Sequence

from numpy.typing import NDArray

from tunescope.federated.combining import Answer
from tunescope.federated.job import Arrays
from tunescope.federated.of_factors import OfFactors, added_of, factors_of, others_of, packed
from tunescope.federated.ranks import fitted, shrink
from tunescope.federated.strategy import Strategy


class RankFrom(OfFactors):
    """A LoRA-aware strategy whose factors grow or shrink before some rounds.

    Growing leaves every product as it is; shrinking leaves the nearest of the lower rank (`ranks.shrink`).

    Args:
        strategy: how factors are put together.
        rank_from: the rank from a round on, by that round.
        scale: of a rank, such as α / r.
        seed: of rows that are drawn.
    """

    def __init__(
        self, strategy: Strategy, rank_from: Mapping[int, int], scale: Callable[[int], float], seed: int = 0
    ):
        super().__init__(strategy, None, seed)
        self.rank_from, self.scale = rank_from, scale

    def combine(
        self, round: int, arrays: Arrays, answers: Sequence[Answer]
    ) -> tuple[dict[str, NDArray], dict[str, float]]:
        """What the strategy makes of the factors, at the next round's rank."""
        made, told = super().combine(round, arrays, answers)
        if (rank := self.rank_from.get(round + 1)) is None:
            return made, told
        factors = {
            target: fitted(shrink(of, rank) if rank < of.rank else of, rank, self.scale(rank), self.seed)
            for target, of in factors_of(made).items()
        }
        return packed(factors, added_of(made), others_of(made)), told | {"rank": float(rank)}
