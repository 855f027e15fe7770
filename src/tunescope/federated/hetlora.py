"""HetLoRA: factors of several ranks, padded with zeros, weighted by how much they change."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from tunescope.federated.factors import Factors
from tunescope.federated.mean import mean
from tunescope.federated.strategy import Held, Joined, Strategy


class HetLoRA(Strategy):
    """Pads A and B to the highest rank, averages them apart, and sends each client the first r_k: not exact.

    Weights are w_k = ‖ΔW_k‖_F / Σ_j ‖ΔW_j‖_F of each target, in the place of the shares of examples, which
    still weigh what is no factor, and factors whose changes are all zero. Where scales differ, as α / r does
    with r, B takes the quotient in, so that each client's product is what it was. Ranks are the study's: the
    paper's clients lower their own while they train, under a penalty on their last directions; ours do not.

    Source: Cho et al. 2024 (arXiv 2401.06432).

    >>> HetLoRA().exact
    False
    """

    kind: str = "hetlora"
    source: ClassVar[str] = "Cho et al. 2024, arXiv 2401.06432"

    def join(self, target: str, held: Sequence[Held], round: int) -> Joined:
        """The weighted means at the highest rank."""
        norms = [one.factors.norm() for one in held]
        weights = [norm / sum(norms) for norm in norms] if any(norms) else [one.share for one in held]
        scales = {one.factors.scale for one in held}
        scale = scales.pop() if len(scales) == 1 else 1.0
        rank = max(one.factors.rank for one in held)
        parts = [padded(one.factors, rank, scale) for one in held]
        a, b = mean([part.a for part in parts], weights), mean([part.b for part in parts], weights)
        return Factors(a, b, scale), None


def padded(factors: Factors, rank: int, scale: float) -> Factors:
    """Zero rows below A and zero columns beside B, up to a rank; B takes a change of scale in.

    >>> wide = padded(Factors(np.array([[1.0]]), np.array([[2.0]]), scale=3.0), rank=2, scale=1.0)
    >>> wide.a.tolist(), wide.b.tolist()
    ([[1.0], [0.0]], [[6.0, 0.0]])
    """
    missing = rank - factors.rank
    b = factors.b
    if factors.scale != scale:
        b = (factors.scale / scale * b.astype(np.float64)).astype(b.dtype)
    return Factors(np.pad(factors.a, ((0, missing), (0, 0))), np.pad(b, ((0, 0), (0, missing))), scale)
