"""Fine-tuning with the lower part of the tower frozen."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.errors import MethodError
from tunescope.methods.method import Installed, Method

if TYPE_CHECKING:
    from tunescope.models.encoder import Encoder


class Freeze(Method):
    """Trains the tower from block k upwards: Δ = 0 in the embeddings and in blocks 0 … k−1.

    What stands between the embeddings and the first block (CLIP's `pre_layrnorm`), and what all blocks read
    (DeBERTa's table of relative positions), is frozen with them; the final norm, pooling head and projection
    train. Trainable parameters: all of the tower's but those.

    Source: Yosinski et al. 2014 (arXiv 1411.1792), section 2; Lee et al. 2019 (arXiv 1911.03090), section 3.

    Args:
        blocks: k, from 0 (embeddings only) to the number of blocks (the final parts alone train).

    >>> Freeze(blocks=6).blocks
    6
    """

    kind: str = "freeze"
    source: ClassVar[str] = "Lee et al. 2019, arXiv 1911.03090, section 3"
    blocks: Annotated[int, Field(ge=0)]

    def install(self, encoder: "Encoder", tower: str = "vision") -> Installed:
        """Unfreeze the upper part of the tower.

        Raises:
            MethodError: the tower has fewer blocks, or nothing would be left to train.
        """
        from tunescope.methods.tower_parameters import parameters_below

        found = encoder.map.tower(tower)
        if self.blocks > len(found.blocks):
            raise MethodError(
                f"freeze: blocks={self.blocks}, but the {tower} tower of {encoder.name} has "
                f"{len(found.blocks)} blocks; give 0 to {len(found.blocks)}"
            )
        above = [*(block.path for block in found.blocks[self.blocks :]), *found.final]
        trainable = parameters_below(encoder.model, above)
        if not trainable:
            raise MethodError(
                f"freeze: blocks={self.blocks} leaves nothing to train in the {tower} tower of "
                f"{encoder.name}; use linear_probe, or freeze fewer blocks"
            )
        return Installed(encoder, tower, trainable)
