"""Fine-tuning of the last blocks alone."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.errors import MethodError
from tunescope.methods.freeze import Freeze
from tunescope.methods.method import Installed, Method

if TYPE_CHECKING:
    from tunescope.models.encoder import Encoder


class LastK(Method):
    """Trains the last k blocks and what follows them: Δ = 0 in the embeddings and in all earlier blocks.

    The final norm, pooling head and projection train with the blocks. With L blocks it is
    `freeze: {blocks: L − k}`, counted from the other end. Trainable parameters: those of k blocks and of
    the final parts.

    Source: Yosinski et al. 2014 (arXiv 1411.1792), section 2; as "Partial-k" in Jia et al. 2022
    (arXiv 2203.12119), section 4.1.

    Args:
        blocks: k, from 1 to the number of blocks.

    >>> LastK(blocks=2).blocks
    2
    """

    kind: str = "last_k"
    source: ClassVar[str] = "Jia et al. 2022, arXiv 2203.12119, section 4.1, Partial-k"
    blocks: Annotated[int, Field(ge=1)]

    def install(self, encoder: "Encoder", tower: str = "vision") -> Installed:
        """Unfreeze the end of the tower. Raises MethodError where the tower has fewer blocks."""
        count = len(encoder.map.tower(tower).blocks)
        if self.blocks > count:
            raise MethodError(
                f"last_k: blocks={self.blocks}, but the {tower} tower of {encoder.name} has {count} blocks; "
                f"give 1 to {count}"
            )
        return Freeze(blocks=count - self.blocks).install(encoder, tower)
