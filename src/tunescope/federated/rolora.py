"""RoLoRA: B and A take turns."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from tunescope.federated.mean import mean
from tunescope.federated.strategy import Held, Joined, Part, Strategy, alike, frozen


class RoLoRA(Strategy):
    """Trains and averages B in odd rounds and A in even ones, the other frozen: exact in every round.

    Σ p_k·B_k·A = (Σ p_k·B_k)·A and Σ p_k·B·A_k = B·(Σ p_k·A_k). B is first because it starts at zero: where
    it is zero A has no gradient.

    Source: Chen et al. 2024 (arXiv 2409.02346); in full as arXiv 2502.01755.

    >>> RoLoRA().trained(round=1), RoLoRA().trained(round=2)
    (('b',), ('a',))
    """

    kind: str = "rolora"
    source: ClassVar[str] = "Chen et al. 2024, arXiv 2409.02346"
    exact: ClassVar[bool] = True

    def trained(self, round: int) -> tuple[Part, ...]:
        """B in odd rounds, A in even ones."""
        return ("b",) if round % 2 else ("a",)

    def join(self, target: str, held: Sequence[Held], round: int) -> Joined:
        """The frozen one as it is, and the mean of the other."""
        alike(self.kind, target, held)
        weights, like = [one.share for one in held], held[0].factors
        if round % 2:
            frozen(self.kind, target, held, "a")
            return replace(like, b=mean([one.factors.b for one in held], weights)), None
        frozen(self.kind, target, held, "b")
        return replace(like, a=mean([one.factors.a for one in held], weights)), None
