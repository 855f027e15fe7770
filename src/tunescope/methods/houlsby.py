"""Houlsby's adapters: two in every block."""

from typing import TYPE_CHECKING, ClassVar

from tunescope.methods.bottleneck import Bottleneck, Place

if TYPE_CHECKING:
    from tunescope.methods.adapter_layer import AdapterLayer
    from tunescope.models.modelmap import Block


class Houlsby(Bottleneck):
    """Trains two bottleneck adapters per block, y + c(y): after attention's output projection, after the MLP.

    Each stands right behind the sublayer's last projection, before its residual is added (and before the
    layer scale, in DINOv2). c(y) = W_up · f(W_down · y + b_down) + b_up. It starts at W_up = 0, so that the
    first output is the base's own; the paper starts near zero. The paper also trains the layer norms, which
    stay frozen here, so that taking the adapters off leaves the base.
    Trainable parameters: 2 · (2rd + r + d) per block.

    Source: Houlsby et al. 2019 (arXiv 1902.00751), section 2.1 and figure 2.

    Args:
        rank: r, width of the bottleneck, at most d.
        activation: f.
        blocks: which blocks, counted from 0: `"4-"`, `"0-3"`, `"-3"`, `"5"`.

    >>> Houlsby(rank=4, blocks="2-").rank
    4
    """

    kind: str = "houlsby"
    source: ClassVar[str] = "Houlsby et al. 2019, arXiv 1902.00751, section 2.1"

    def places(self, block: "Block") -> list[Place]:
        """Behind attention's output projection, and behind the MLP's."""
        return [Place("adapter_attention", block.o), Place("adapter_mlp", block.fc2)]

    def layer(self, width: int) -> "AdapterLayer":
        """An adapter that starts at exactly zero."""
        from tunescope.methods.adapter_layer import AdapterLayer

        return AdapterLayer(width, self.rank, self.activation)
