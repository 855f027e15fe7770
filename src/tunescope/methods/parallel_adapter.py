"""The scaled parallel adapter: beside the MLP, not behind it."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from tunescope.methods.bottleneck import Bottleneck, Place

if TYPE_CHECKING:
    from tunescope.methods.adapter_layer import AdapterLayer
    from tunescope.models.modelmap import Block


class ParallelAdapter(Bottleneck):
    """Trains a bottleneck adapter beside each MLP: MLP(x) + s · c(x), where x is the MLP's own input.

    x comes after the norm, in a pre-norm block; the sum is taken before the residual is added.
    c(x) = W_up · f(W_down · x + b_down) + b_up starts at W_up = 0, as published, so that the first output is
    the base's own. Trainable parameters: 2rd + r + d per block.

    Source: He et al. 2022 (arXiv 2110.04366), section 3.3, "scaled parallel adapter", and table 1;
    ReLU and s = 4 are the paper's.

    Args:
        rank: r, width of the bottleneck, at most d.
        activation: f.
        blocks: which blocks, counted from 0: `"4-"`, `"0-3"`, `"-3"`, `"5"`.
        scale: s, fixed.

    >>> ParallelAdapter(rank=16).scale
    4.0
    """

    kind: str = "parallel_adapter"
    source: ClassVar[str] = "He et al. 2022, arXiv 2110.04366, section 3.3"
    activation: Literal["gelu", "relu"] = "relu"
    scale: Annotated[float, Field(gt=0)] = 4.0

    def places(self, block: "Block") -> list[Place]:
        """From the MLP's input (`fc1`'s, and a gate's) to its output."""
        return [Place("adapter_mlp", block.fc2, reads=block.fc1)]

    def layer(self, width: int) -> "AdapterLayer":
        """An adapter that starts at exactly zero."""
        from tunescope.methods.adapter_layer import AdapterLayer

        return AdapterLayer(width, self.rank, self.activation, self.scale)
