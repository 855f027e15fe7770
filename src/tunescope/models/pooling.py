"""Which token a tower is read at: the row of a text, and the attention head that pools an image."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tunescope.errors import ModelError
from tunescope.models.modelmap import Tower, module_at


def text_inputs(args: tuple, kwargs: Mapping[str, Any]) -> tuple[Int[Tensor, "b n"], Tensor | None]:
    """The token ids and the padding mask that a text tower was called with.

    Raises:
        ModelError: it was called with embeddings, so that the pooled token cannot be found.
    """
    given = dict(zip(("input_ids", "attention_mask"), args, strict=False)) | dict(kwargs)
    if given.get("input_ids") is None:
        raise ModelError("a watched text tower was called without input_ids; expected token ids")
    return given["input_ids"], given.get("attention_mask")


def pooled_row(module: nn.Module, tower: Tower, ids: Int[Tensor, "b n"]) -> int | Int[Tensor, " b"]:
    """The position of the token that the tower pools, by the rule of the tower's own code.

    The first token is at 0; any other is counted from the end (−1 is the last), so that it is found in the
    blocks too, where prompts may stand between the first token and the rest.

    `eos`: the first end-of-text token, or the largest id where CLIP's config still says `eos_token_id: 2`;
    `last`: the last token, padding or not (SigLIP); `cls`: the first.

    Raises:
        ModelError: the tower pools in another way and has no such token.
    """
    if tower.pooling == "cls":
        return 0
    if tower.pooling == "last":
        return -1
    if tower.pooling == "eos":
        eos: int = getattr(module.config, "eos_token_id")  # noqa: B009, a config is no tensor
        first = ids.argmax(-1) if eos == 2 else torch.eq(ids, eos).int().argmax(-1)
        return first - ids.shape[1]
    raise ModelError(
        f"the {tower.name} tower pools by {tower.pooling!r} and has no pooled token; "
        "expected cls, eos or last"
    )


def real_tokens(
    ids: Int[Tensor, "b n"], mask: Tensor | None, row: int | Int[Tensor, " b"]
) -> Bool[Tensor, "b n"]:
    """Which tokens are text: not masked out, and not after the end-of-text token.

    >>> real_tokens(torch.zeros(2, 4, dtype=torch.int64), None, torch.tensor([-3, -1])).int().tolist()
    [[1, 1, 0, 0], [1, 1, 1, 1]]
    """
    real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    if isinstance(row, int):
        return real
    length = ids.shape[1]
    return real & (torch.arange(-length, 0, device=ids.device) <= row[:, None])


class Read:
    """What a text tower was called with, as far as it concerns who is read.

    Attributes:
        row: of the pooled token, as `pooled_row` says it; None for images.
        real: which tokens are text; None for images.
    """

    row: "int | Tensor | None" = None
    real: Tensor | None = None

    def real_in_blocks(self, length: int) -> Bool[Tensor, "b n"]:
        """The real tokens among those of the blocks: prompts stand behind the first token."""
        assert self.real is not None
        ours = self.real.new_ones(len(self.real), length - self.real.shape[1])
        return torch.cat([self.real[:, :1], ours, self.real[:, 1:]], 1)


@contextmanager
def reading(model: nn.Module, place: Tower, read: Read) -> Iterator[None]:
    """Fill `read` whenever the text tower is called; of a vision tower nothing is read."""
    if place.grid is not None:
        yield
        return

    def before(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        ids, mask = text_inputs(args, kwargs)
        read.row = pooled_row(module, place, ids)
        read.real = real_tokens(ids, mask, read.row)

    handle = module_at(model, place.path).register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def attention_pool(model: nn.Module, tower: Tower) -> nn.MultiheadAttention:
    """The attention module of a tower's pooling head.

    Raises:
        ModelError: there is none at the map's `pooler`.
    """
    place = module_at(model, tower.pooler) if tower.pooler else nn.Identity()
    found = [module for module in place.modules() if isinstance(module, nn.MultiheadAttention)]
    if len(found) != 1:
        raise ModelError(
            f"pooler {tower.pooler!r} of the {tower.name} tower holds {len(found)} attention modules; "
            "expected one nn.MultiheadAttention"
        )
    return found[0]


def pool_value_norms(pool: nn.MultiheadAttention, hidden: Float[Tensor, "b n d"]) -> Float[Tensor, "b h n"]:
    """‖v_j‖ of every token, per head of an attention pooling head."""
    weight = pool.in_proj_weight.chunk(3)[2]
    bias = None if pool.in_proj_bias is None else pool.in_proj_bias.chunk(3)[2]
    with torch.autocast(hidden.device.type, enabled=False):
        values = F.linear(hidden.to(weight.dtype), weight, bias)
    values = values.unflatten(-1, (pool.num_heads, -1))
    return values.to(torch.promote_types(values.dtype, torch.float32)).norm(dim=-1).transpose(1, 2)
