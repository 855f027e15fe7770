"""FedEx-LoRA: the means, and what they miss."""

from collections.abc import Sequence
from typing import ClassVar

from tunescope.federated.factors import stacked
from tunescope.federated.naive import averaged
from tunescope.federated.strategy import Held, Joined, Strategy, alike


class FedExLoRA(Strategy):
    """Averages A and B apart and adds what that misses to the base weight: W₀ ← W₀ + s·(Σ p_k·B_k·A_k − B̄·Ā).

    Exact. The residual travels as factors of rank (K + 1)·r for K clients; it is held against Ā and B̄ as they
    are sent, so that their rounding is in it. One client has none.

    Source: Singhal et al. 2024 (arXiv 2410.09432), section 4.

    >>> FedExLoRA().exact
    True
    """

    kind: str = "fedex_lora"
    source: ClassVar[str] = "Singhal et al. 2024, arXiv 2410.09432, section 4"
    exact: ClassVar[bool] = True

    def join(self, target: str, held: Sequence[Held], round: int) -> Joined:
        """The means, and the residual for W₀."""
        alike(self.kind, target, held)
        kept = averaged(held)
        if len(held) == 1:
            return kept, None
        weights = [*(one.share for one in held), -1.0]
        return kept, stacked([*(one.factors for one in held), kept], weights)
