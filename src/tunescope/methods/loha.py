"""LoHa through peft: the Hadamard product of two low-rank matrices."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.methods.low_rank import pattern
from tunescope.methods.peft_adapter import PeftMethod, exactly
from tunescope.methods.ranks import Rank, ranks_by_path

if TYPE_CHECKING:
    from peft import LoHaConfig
    from torch import nn

    from tunescope.models.encoder import Encoder


class LoHa(PeftMethod):
    """Trains a change of rank up to r² with two pairs of thin matrices: W = W₀ + (α / r)·(B₁·A₁) ⊙ (B₂·A₂).

    A₁, A₂ ∈ ℝ^{r×in} and B₁, B₂ ∈ ℝ^{out×r} are drawn from torch's global generator (Kaiming uniform), but A₂
    starts at zero. Trainable parameters: Σ 2·r·(in + out) over the target matrices.

    Source: Hyeon-Woo, Ye-Bin and Oh 2021 (arXiv 2108.06098), section 2.1, proposition 1; as an adapter, Yeh
    et al. 2023 (arXiv 2309.14859), section 3.

    Args:
        rank: r: one number, or numbers by block and role.
        alpha: α, the same for every target: its change is scaled by α / r with its own r.
        dropout: share of the rows of the change that is dropped, while training; those left are scaled up.
        targets: roles of the model map.

    >>> LoHa(rank=4).targets
    ('q', 'v')
    """

    kind: str = "loha"
    source: ClassVar[str] = "Hyeon-Woo et al. 2021, arXiv 2108.06098, section 2.1"
    rank: Rank = 8
    alpha: Annotated[float, Field(gt=0)] = 16.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def config(self, encoder: "Encoder", tower: str, layers: "dict[str, nn.Linear]") -> "LoHaConfig":
        """LoHa with its ranks by path."""
        from peft import LoHaConfig

        return LoHaConfig(
            **pattern("r", "rank_pattern", ranks_by_path(self.rank, self.targets, layers, encoder, tower)),
            alpha=self.alpha,  # pyright: ignore[reportArgumentType] — declared int, only ever divided by r
            rank_dropout=self.dropout,
            target_modules=exactly(layers),
        )
