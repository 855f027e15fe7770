"""FLoRA: factors are stacked, merged, and begun anew."""

from collections.abc import Sequence
from typing import ClassVar

from tunescope.federated.factors import stacked
from tunescope.federated.strategy import Held, Joined, Strategy


class FLoRA(Strategy):
    """Stacks the factors and has every client merge the product: B = [B₁ … B_K], A = [p₁s₁A₁; …; p_Ks_KA_K].

    Exact, whatever rank and scale each client has: B·A = Σ p_k·s_k·B_k·A_k, with the weight on one side only.
    What is sent has the rank Σ r_k, and clients begin the next round with factors drawn anew (B zero) and so
    without their optimiser's moments. Other than the paper's, clients need not remember what they merged:
    they are sent the sum over all rounds (`of_factors`).

    Source: Wang et al. 2024 (arXiv 2409.05976).

    >>> FLoRA().exact
    True
    """

    kind: str = "flora"
    source: ClassVar[str] = "Wang et al. 2024, arXiv 2409.05976"
    version: ClassVar[int] = 2
    exact: ClassVar[bool] = True
    renews: ClassVar[bool] = True

    def join(self, target: str, held: Sequence[Held], round: int) -> Joined:
        """All of it is for W₀; the factors begin anew."""
        return None, stacked([one.factors for one in held], [one.share for one in held])
