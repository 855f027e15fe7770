"""DoRA through peft: direction and magnitude of a weight, tuned apart."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.methods.low_rank import LowRank

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import nn

    from tunescope.models.encoder import Encoder


class DoRA(LowRank):
    """Trains direction and magnitude of a weight apart: W = m · V / ‖V‖ with V = W₀ + (α / r)·B·A.

    The norm is that of each row, the weights of one output feature; m ∈ ℝ^{out} starts as the norms of W₀,
    A and B as LoRA's. The norm takes no part in the gradient (section 4.3 of the paper).
    Trainable parameters: Σ r·(in + out) + out over the target matrices.

    Source: Liu et al. 2024 (arXiv 2402.09353), section 4.1, equation 5.

    Args:
        rank: r, at most the smaller side of every target matrix: one number, or numbers by block and role.
        alpha: α, the same for every target: its low-rank part is scaled by α / r with its own r.
        dropout: share of a target's inputs that is dropped on the way into A, while training.
        targets: roles of the model map.

    >>> DoRA(rank={"blocks[0-3]": 4, "blocks[4-]": 16}).rank["blocks[4-]"]
    16
    """

    kind: str = "dora"
    source: ClassVar[str] = "Liu et al. 2024, arXiv 2402.09353, section 4.1"
    alpha: Annotated[float, Field(gt=0)] = 16.0

    def config(self, encoder: "Encoder", tower: str, layers: "dict[str, nn.Linear]") -> "LoraConfig":
        """LoRA with magnitude vectors."""
        ranks = self.ranks(encoder, tower, layers)
        return self.lora_config(ranks, dict.fromkeys(ranks, self.alpha), use_dora=True)
