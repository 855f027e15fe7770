"""Rank-stabilised LoRA through peft."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.methods.low_rank import LowRank

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import nn

    from tunescope.models.encoder import Encoder


class RsLoRA(LowRank):
    """Trains a low-rank change whose scale falls with the root of the rank: W = W₀ + (α / √r)·B·A.

    With LoRA's α / r the gradients of a large rank vanish; with this they keep their size. A and B start as
    LoRA's do. Trainable parameters: Σ r·(in + out) over the target matrices.

    Source: Kalajdzievski 2023 (arXiv 2312.03732), section 3, theorem 3.2.

    Args:
        rank: r, at most the smaller side of every target matrix: one number, or numbers by block and role.
        alpha: α, the same for every target: its change is scaled by α / √r with its own r.
        dropout: share of a target's inputs that is dropped on the way into A, while training.
        targets: roles of the model map.

    >>> RsLoRA(rank=64).alpha
    16.0
    """

    kind: str = "rslora"
    source: ClassVar[str] = "Kalajdzievski 2023, arXiv 2312.03732, section 3"
    alpha: Annotated[float, Field(gt=0)] = 16.0

    def config(self, encoder: "Encoder", tower: str, layers: "dict[str, nn.Linear]") -> "LoraConfig":
        """LoRA scaled by α / √r."""
        ranks = self.ranks(encoder, tower, layers)
        return self.lora_config(ranks, dict.fromkeys(ranks, self.alpha), use_rslora=True)
