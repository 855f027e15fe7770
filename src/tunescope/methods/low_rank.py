"""What LoRA and its kin have in common: a rank, a scale, dropout."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from tunescope.errors import MethodError
from tunescope.methods.peft_adapter import PeftMethod, exactly
from tunescope.methods.ranks import Rank, ranks_by_path

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import nn

    from tunescope.models.encoder import Encoder


class LowRank(PeftMethod):
    """A way of tuning with two thin matrices, A ∈ ℝ^{r×in} and B ∈ ℝ^{out×r}, for every target.

    Args:
        rank: r, at most the smaller side of every target matrix: one number, or numbers by block and role,
            such as `{"vision.blocks[0-3]": 4, "*": 16}`, that name every target once; `*` is all the others.
        dropout: share of a target's inputs that is dropped on the way into A, while training.
        targets: roles of the model map: `q`, `attention.o`, `blocks[4-].mlp.fc1`,
            `vision.blocks[0].attention.q`.
    """

    rank: Rank = 8
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def ranks(self, encoder: "Encoder", tower: str, layers: "dict[str, nn.Linear]") -> dict[str, int]:
        """The rank of every layer.

        Raises:
            MethodError: a pattern that matches nothing, or a rank larger than the matrix.
        """
        ranks = ranks_by_path(self.rank, self.targets, layers, encoder, tower)
        for path, rank in ranks.items():
            rows, columns = layers[path].weight.shape
            if rank > min(rows, columns):
                raise MethodError(
                    f"{self.kind}: rank={rank}, but {path} is {rows} × {columns}; "
                    f"give a rank of at most {min(rows, columns)}"
                )
        return ranks

    def lora_config(self, ranks: dict[str, int], alphas: dict[str, float], **settings: Any) -> "LoraConfig":
        """Peft's settings for LoRA, with ranks and α by path."""
        from peft import LoraConfig

        return LoraConfig(
            **pattern("r", "rank_pattern", ranks),
            **pattern("lora_alpha", "alpha_pattern", alphas),
            lora_dropout=self.dropout,
            target_modules=exactly(ranks),
            bias="none",
            **settings,
        )


def pattern(name: str, by_path: str, values: dict[str, Any]) -> dict[str, Any]:
    r"""A setting of peft with a value for every path: the first path's, and the others that differ from it.

    >>> pattern("r", "rank_pattern", {"blocks.0.q": 4, "blocks.1.q": 8})
    {'r': 4, 'rank_pattern': {'^blocks\\.1\\.q': 8}}
    """
    first = next(iter(values.values()))
    # Anchored: peft would let a pattern match the end of a longer path.
    differing = {f"^{exactly([path])}": value for path, value in values.items() if value != first}
    return {name: first, by_path: differing}
