"""FlexLoRA: the mean of the changes, cut to each client's rank."""

from collections.abc import Sequence
from typing import ClassVar

from tunescope.federated.factors import stacked, svd
from tunescope.federated.ranks import from_svd
from tunescope.federated.strategy import Held, Joined, Strategy

NOTHING = 1e-12  # of the largest singular value: what lies below is rounding


class FlexLoRA(Strategy):
    """Decomposes the mean of the changes, Σ p_k·s_k·B_k·A_k = U·diag(σ)·Vᵀ; each client gets its first r_k.

    Ranks and scales may differ. A client's part is the best of its rank (Eckart & Young); balanced factors,
    B = U·√(σ/s) and A = √(σ/s)·Vᵀ, are ours. What is cut off is its `aggregation_error`, told here for the
    highest rank.
    Directions that do nothing are left out, and a client of a higher rank is given new ones (`ranks.fitted`).
    Where the ranks sum to less than min(out, in), no matrix [out, in] is made.

    Source: Bai et al. 2024 (arXiv 2402.11505).

    >>> FlexLoRA().exact
    False
    """

    kind: str = "flexlora"
    source: ClassVar[str] = "Bai et al. 2024, arXiv 2402.11505"
    version: ClassVar[int] = 2
    renews: ClassVar[bool] = True

    def join(self, target: str, held: Sequence[Held], round: int) -> Joined:
        """The whole decomposition, to be cut; nothing where the mean is zero."""
        u, sigma, vt = svd(stacked([one.factors for one in held], [one.share for one in held]))
        rank = int((sigma > NOTHING * sigma.max(initial=0.0)).sum())
        if rank == 0:
            return None, None
        scales = {one.factors.scale for one in held}
        scale = scales.pop() if len(scales) == 1 else 1.0
        dtype = held[0].factors.a.dtype
        return from_svd(u[:, :rank], sigma[:rank], vt[:rank], scale, rank, dtype), None
