"""LoKr through peft: a Kronecker product whose second factor is of low rank."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.methods.low_rank import pattern
from tunescope.methods.peft_adapter import PeftMethod, exactly
from tunescope.methods.ranks import Rank, ranks_by_path

if TYPE_CHECKING:
    from peft import LoKrConfig
    from torch import nn

    from tunescope.models.encoder import Encoder


class LoKr(PeftMethod):
    """Trains a Kronecker product of a small matrix and a low-rank one: W = W₀ + (α / r)·C ⊗ (B·A).

    Sides are split as evenly as they divide, out = a·b with a ≤ b and in = c·d with c ≤ d. C ∈ ℝ^{a×c} starts
    at zero; B ∈ ℝ^{b×r} and A ∈ ℝ^{r×d} are drawn from torch's global generator (Kaiming uniform). Where
    r ≥ max(b, d) / 2, one full matrix of b × d takes the place of B·A.
    Trainable parameters: Σ a·c + r·(b + d), or a·c + b·d, over the target matrices.

    Source: Yeh et al. 2023 (arXiv 2309.14859), section 3; Edalati et al. 2022 (arXiv 2212.10650), section 3.

    Args:
        rank: r: one number, or numbers by block and role.
        alpha: α, the same for every target: its change is scaled by α / r with its own r.
        dropout: share of the rows of the change that is dropped, while training; those left are scaled up.
        targets: roles of the model map.

    >>> LoKr(rank=4).targets
    ('q', 'v')
    """

    kind: str = "lokr"
    source: ClassVar[str] = "Yeh et al. 2023, arXiv 2309.14859, section 3"
    rank: Rank = 8
    alpha: Annotated[float, Field(gt=0)] = 16.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def config(self, encoder: "Encoder", tower: str, layers: "dict[str, nn.Linear]") -> "LoKrConfig":
        """LoKr with its ranks by path."""
        from peft import LoKrConfig

        return LoKrConfig(
            **pattern("r", "rank_pattern", ranks_by_path(self.rank, self.targets, layers, encoder, tower)),
            alpha=self.alpha,  # pyright: ignore[reportArgumentType] — declared int, only ever divided by r
            rank_dropout=self.dropout,
            rank_dropout_scale=True,
            target_modules=exactly(layers),
        )
