"""Pfeiffer's adapters: one in every block, after the MLP."""

from typing import TYPE_CHECKING, ClassVar

from tunescope.methods.bottleneck import Place
from tunescope.methods.houlsby import Houlsby

if TYPE_CHECKING:
    from tunescope.models.modelmap import Block


class Pfeiffer(Houlsby):
    """Trains one bottleneck adapter per block, y + c(y), after the MLP: the second of Houlsby's two.

    It stands right behind the MLP's last projection, before the residual is added, where Houlsby's does; the
    paper, on post-norm BERT, also lets it read the residual. c(y) = W_up · f(W_down · y + b_down) + b_up
    starts at W_up = 0, so that the first output is the base's own.
    Trainable parameters: 2rd + r + d per block.

    Source: Pfeiffer et al. 2021, AdapterFusion (arXiv 2005.00247), section 2.2.3.

    Args:
        rank: r, width of the bottleneck, at most d.
        activation: f.
        blocks: which blocks, counted from 0: `"4-"`, `"0-3"`, `"-3"`, `"5"`.

    >>> Pfeiffer(activation="relu").kind
    'pfeiffer'
    """

    kind: str = "pfeiffer"
    source: ClassVar[str] = "Pfeiffer et al. 2021, arXiv 2005.00247"

    def places(self, block: "Block") -> list[Place]:
        """Behind the MLP's last projection."""
        return [Place("adapter_mlp", block.fc2)]
