"""LoRA through peft, with its targets and ranks given by role."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.methods.low_rank import LowRank

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import nn

    from tunescope.models.encoder import Encoder


class LoRA(LowRank):
    """Trains a low-rank change of chosen matrices: W = W₀ + (α / r)·B·A, B starts at zero.

    A ∈ ℝ^{r×in} is drawn as in `nn.Linear` (Kaiming uniform, from torch's global generator), and
    B ∈ ℝ^{out×r} is zero.
    Trainable parameters: Σ r·(in + out) over the target matrices.

    Source: Hu et al. 2021 (arXiv 2106.09685), section 4.1, equation 3.

    Args:
        rank: r, at most the smaller side of every target matrix: one number, or numbers by block and role,
            such as `{"vision.blocks[0-3]": 4, "*": 16}`, that name every target once; `*` is all the others.
        alpha: α, the same for every target: its change is scaled by α / r with its own r.
        dropout: share of a target's inputs that is dropped on the way into A, while training.
        targets: roles of the model map: `q`, `attention.o`, `blocks[4-].mlp.fc1`,
            `vision.blocks[0].attention.q`.

    >>> LoRA(rank=4).targets
    ('q', 'v')
    """

    kind: str = "lora"
    source: ClassVar[str] = "Hu et al. 2021, arXiv 2106.09685, section 4.1"
    alpha: Annotated[float, Field(gt=0)] = 16.0

    def config(self, encoder: "Encoder", tower: str, layers: "dict[str, nn.Linear]") -> "LoraConfig":
        """LoRA without a change of its scale."""
        ranks = self.ranks(encoder, tower, layers)
        return self.lora_config(ranks, dict.fromkeys(ranks, self.alpha))
