"""What all bottleneck adapters share: their settings, and how they get into the blocks."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field

from tunescope.errors import MethodError
from tunescope.methods.attached import Attached, attach
from tunescope.methods.method import Method

if TYPE_CHECKING:
    from tunescope.methods.adapter_layer import AdapterLayer
    from tunescope.models.encoder import Encoder
    from tunescope.models.modelmap import Block

Blocks = Annotated[str, Field(pattern=r"^(\d+|\d+-\d*|-\d+)$", coerce_numbers_to_str=True)]


class Place(NamedTuple):
    """Where one adapter of a block goes.

    Args:
        name: of the adapter below the block.
        adds_to: path of the module whose output it adds to.
        reads: path of the module whose input it reads; None = it reads what it adds to.
    """

    name: str
    adds_to: str
    reads: str | None = None


class Bottleneck(Method):
    """Trains small two-layer networks beside frozen blocks: c(x) = W_up · f(W_down · x + b_down) + b_up.

    W_down ∈ ℝ^{r×d}, W_up ∈ ℝ^{d×r}. A subclass says where in the block they are and how they start.
    `without` switches them off exactly; f is not linear, so `merge` is refused.

    Args:
        rank: r, width of the bottleneck, at most d.
        activation: f.
        blocks: which blocks, counted from 0: `"4-"`, `"0-3"`, `"-3"`, `"5"`.
    """

    rank: Annotated[int, Field(ge=1)] = 8
    activation: Literal["gelu", "relu"] = "gelu"
    blocks: Blocks = "0-"

    @abstractmethod
    def places(self, block: "Block") -> Sequence[Place]:
        """Where the adapters of one block go."""

    @abstractmethod
    def layer(self, width: int) -> "AdapterLayer":
        """One adapter for blocks of size `width`, as it starts."""

    def install(self, encoder: "Encoder", tower: str = "vision") -> Attached:
        """Put adapters into the chosen blocks, through hooks; the map's paths go on being valid.

        Raises:
            MethodError: blocks that this tower does not have, or a rank larger than d.
        """
        from torch import nn

        from tunescope.models.modelmap import module_at

        wanted = set(encoder.map.paths(f"blocks[{self.blocks}].mlp.fc2", tower))
        blocks = [block for block in encoder.map.tower(tower).blocks if block.fc2 in wanted]
        last = module_at(encoder.model, blocks[0].fc2)
        assert isinstance(last, nn.Linear)
        if self.rank > last.out_features:
            raise MethodError(
                f"{self.kind}: rank={self.rank}, but the {tower} tower of {encoder.name} is "
                f"{last.out_features} wide; give a rank of at most {last.out_features}"
            )
        paths: list[str] = []
        for block in blocks:
            for place in self.places(block):
                layer = self.layer(last.out_features)
                paths.append(attach(encoder, block.path, place.name, layer))
                adds_to = module_at(encoder.model, place.adds_to)
                if place.reads is None:
                    layer.behind(adds_to)
                else:
                    layer.beside(module_at(encoder.model, place.reads), adds_to)
        return Attached(encoder, tower, self.kind, paths, "a bottleneck is not a linear map")
