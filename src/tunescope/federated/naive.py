"""Averaging A and B apart, as plain federated averaging does."""

from collections.abc import Sequence
from typing import ClassVar

from tunescope.federated.factors import Factors
from tunescope.federated.mean import mean
from tunescope.federated.strategy import Held, Joined, Strategy, alike


def averaged(held: Sequence[Held]) -> Factors:
    """Ā = Σ_k p_k·A_k and B̄ = Σ_k p_k·B_k; what all clients have alike is taken as it is, bit for bit."""
    weights, like = [one.share for one in held], held[0].factors
    a, b = [one.factors.a for one in held], [one.factors.b for one in held]
    return Factors(mean(a, weights), mean(b, weights), like.scale)


class Naive(Strategy):
    """Averages A and B apart: A ← Σ p_k·A_k, B ← Σ p_k·B_k.

    The mean of products is not the product of means: what is missed is Σ p_k·(B_k − B̄)(A_k − Ā), and
    `aggregation_error` says how much of the whole that is.

    Source: McMahan et al. 2017 (arXiv 1602.05629), algorithm 1, on LoRA's factors (FedIT: Zhang et al. 2023,
    arXiv 2305.05644).

    >>> Naive().kind
    'naive'
    """

    kind: str = "naive"
    source: ClassVar[str] = "McMahan et al. 2017, arXiv 1602.05629, algorithm 1; FedIT, arXiv 2305.05644"

    def join(self, target: str, held: Sequence[Held], round: int) -> Joined:
        """The means; nothing is added to W₀."""
        alike(self.kind, target, held)
        return averaged(held), None
