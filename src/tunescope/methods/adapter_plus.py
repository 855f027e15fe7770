"""Adapter+: one adapter behind every block, scaled channel by channel."""

from typing import TYPE_CHECKING, ClassVar

from tunescope.methods.bottleneck import Bottleneck, Place

if TYPE_CHECKING:
    from tunescope.methods.adapter_layer import AdapterLayer
    from tunescope.models.modelmap import Block


class AdapterPlus(Bottleneck):
    """Trains a bottleneck adapter behind each block, x + s ⊙ c(x), where x has the block's residual in it.

    In a post-norm block (BERT's) x comes from the block's last norm; the paper has pre-norm blocks alone.
    c(x) = W_up · f(W_down · x + b_down) + b_up; s ∈ ℝ^d is learned, one factor for each channel.
    Taken from the paper: the post-adapter's place (behind the MLP's residual sum), channel-wise scaling that
    starts at 1, Houlsby's initialisation of both matrices (normal, σ = 0.01, cut at 2σ, biases 0), GELU,
    biases, no norm, r = 8. Left out: its stochastic depth of 0.1 on the adapters while training.
    The first output is therefore near the base's, not equal to it.
    Trainable parameters: 2rd + r + 2d per block.

    Source: Steitz and Roth 2024, Adapters Strike Back (arXiv 2406.06820), section 3, and its code.

    Args:
        rank: r, width of the bottleneck, at most d.
        activation: f.
        blocks: which blocks, counted from 0: `"4-"`, `"0-3"`, `"-3"`, `"5"`.

    >>> AdapterPlus().rank
    8
    """

    kind: str = "adapter_plus"
    source: ClassVar[str] = "Steitz and Roth 2024, arXiv 2406.06820, section 3"

    def places(self, block: "Block") -> list[Place]:
        """Behind the block."""
        return [Place("adapter", block.path)]

    def layer(self, width: int) -> "AdapterLayer":
        """An adapter that starts near zero."""
        from tunescope.methods.adapter_layer import AdapterLayer

        return AdapterLayer(width, self.rank, self.activation, "channels", near=True)
