"""PiSSA through peft: LoRA that starts from a weight's largest singular values."""

from typing import TYPE_CHECKING, ClassVar

from tunescope.methods.low_rank import LowRank

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import nn

    from tunescope.models.encoder import Encoder


class PiSSA(LowRank):
    """Trains the principal part of chosen matrices and freezes the rest: W = W_res + B·A.

    With the singular values W₀ = U·S·Vᵀ, the r largest make B = U_r·√S_r and A = √S_r·V_rᵀ, and
    W_res = W₀ − B·A keeps the others. There is no scale: α / r = 1, as in the paper. The model starts as the
    base model up to rounding, and the base weights are kept, so that it can be taken off exactly. W_res
    is not among what is saved: it follows from the base weights.
    Trainable parameters: Σ r·(in + out) over the target matrices.

    Source: Meng, Wang and Zhang 2024 (arXiv 2404.02948), section 3, equations 2 to 4.

    Args:
        rank: r, at most the smaller side of every target matrix: one number, or numbers by block and role.
        dropout: share of a target's inputs that is dropped on the way into A, while training.
        targets: roles of the model map.

    >>> PiSSA(rank=4).targets
    ('q', 'v')
    """

    kind: str = "pissa"
    source: ClassVar[str] = "Meng et al. 2024, arXiv 2404.02948, section 3"

    def config(self, encoder: "Encoder", tower: str, layers: "dict[str, nn.Linear]") -> "LoraConfig":
        """LoRA from the singular value decomposition of the weights, with α = r."""
        ranks = self.ranks(encoder, tower, layers)
        alphas = {path: float(rank) for path, rank in ranks.items()}
        return self.lora_config(ranks, alphas, init_lora_weights="pissa")
