"""FedEx-LoRA: the means, and what they miss."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from tunescope.federated.factors import Factors
from tunescope.federated.mean import mean
from tunescope.federated.naive import averaged
from tunescope.federated.strategy import Held, Joined, Strategy, alike


class FedExLoRA(Strategy):
    """Averages A and B apart and adds what that misses to the base weight: W₀ ← W₀ + s·(Σ p_k·B_k·A_k − B̄·Ā).

    Exact. Of K clients the residual is Σ_{k<K} p_k·(B_k − B̄)·(A_k − A_K), and travels as factors of rank
    (K − 1)·r: the deviations from B̄, weighted, sum to zero. One client has none.

    Source: Singhal et al. 2024 (arXiv 2410.09432).

    >>> FedExLoRA().exact
    True
    """

    kind: str = "fedex_lora"
    source: ClassVar[str] = "Singhal et al. 2024, arXiv 2410.09432"
    version: ClassVar[int] = 2
    exact: ClassVar[bool] = True

    def join(self, target: str, held: Sequence[Held], round: int) -> Joined:
        """The means, and the residual for W₀."""
        alike(self.kind, target, held)
        kept = averaged(held)
        if len(held) == 1:
            return kept, None
        weights = [one.share for one in held]
        a = [one.factors.a.astype(np.float64) for one in held]
        b = [one.factors.b.astype(np.float64) for one in held]
        middle = mean(b, weights)
        right = [weight * kept.scale * (of - a[-1]) for weight, of in zip(weights[:-1], a[:-1], strict=True)]
        left = [of - middle for of in b[:-1]]
        return kept, Factors(np.concatenate(right), np.concatenate(left, axis=1))
