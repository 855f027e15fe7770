"""Prefix tuning: learned keys and values in front of every block's own."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.errors import MethodError
from tunescope.methods.bottleneck import Blocks
from tunescope.methods.method import Method

if TYPE_CHECKING:
    from tunescope.methods.counted import Counted
    from tunescope.models.encoder import Encoder


class Prefix(Method):
    """Trains p keys and values per block and head before the tokens' own: softmax(q·[P_K; K]ᵀ)·[P_V; V].

    Every query sees the whole prefix, whatever hides other keys from it (padding, causality, a window), and
    the prefix is not rotated where the family rotates keys. Images and texts alike; a pooling head (SigLIP's
    vision) has none. P_K and P_V are trained directly, as in P-tuning v2, without the MLP that the first
    paper makes them with, and drawn from N(0, 0.02²): the first output is therefore not the base's. Metrics
    of attention drop the prefix and renormalise. `without` takes it off exactly; `merge` is refused.
    Trainable parameters: 2 · p · heads · head_dim per block.

    Source: Li and Liang 2021 (arXiv 2101.00190), section 4; Liu et al. 2021, P-tuning v2 (arXiv 2110.07602),
    section 3.

    Args:
        tokens: p, how many keys and values at each block.
        blocks: which blocks, counted from 0: `"4-"`, `"0-3"`, `"-3"`, `"5"`.

    >>> Prefix(tokens=5, blocks="2-").tokens
    5
    """

    kind: str = "prefix"
    source: ClassVar[str] = (
        "Li and Liang 2021, arXiv 2101.00190, section 4; Liu et al. 2021, arXiv 2110.07602"
    )
    tokens: Annotated[int, Field(ge=1)] = 10
    blocks: Blocks = "0-"

    def install(self, encoder: "Encoder", tower: str = "vision") -> "Counted":
        """Hang a prefix below the attention module of every chosen block, where the seam finds it.

        Raises:
            MethodError: blocks that this tower does not have, or attention that takes no keys beside its
                tokens' (DeBERTa).
        """
        from tunescope.methods.attached import attach
        from tunescope.methods.counted import Counted
        from tunescope.methods.key_prefix import KeyPrefix
        from tunescope.models.modelmap import module_at
        from tunescope.models.tap import PREFIX, dispatches

        wanted = set(encoder.map.paths(f"blocks[{self.blocks}].mlp.fc2", tower))
        place = encoder.map.tower(tower)
        places = [block.attention for block in place.blocks if block.fc2 in wanted]
        if not all(dispatches(module_at(encoder.model, path)) for path in places):
            raise MethodError(
                f"{self.kind}: attention in {encoder.name} ({encoder.map.family}) adds to every logit a term "
                "for the positions of both tokens, and a key of no token has none; use lora or houlsby"
            )
        paths = [
            attach(encoder, path, PREFIX, KeyPrefix(self.tokens, place.heads, place.head_dim))
            for path in places
        ]
        reason = "keys beside those of the tokens are no change of a weight"
        return Counted(encoder, tower, self.kind, paths, reason, "prefix_keys", self.tokens)
