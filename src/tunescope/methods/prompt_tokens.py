"""Learned tokens among those that a tower's blocks see, by hooks."""

from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn


class PromptTokens(nn.Module):
    """p learned tokens for one block, P ∈ ℝ^{p×d}, the same for every example.

    Args:
        weight: their values at the start.
        start: tokens before them ([CLS], registers).

    >>> prompts = PromptTokens(torch.zeros(2, 3), start=1)
    >>> prompts.put(torch.ones(1, 3, 3))[0, :, 0].int().tolist()
    [1, 0, 0, 1, 1]
    """

    def __init__(self, weight: Float[Tensor, "p d"], start: int):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.start = start
        self.active = True

    def put(self, hidden: Float[Tensor, "b n d"], taken: int = 0) -> Float[Tensor, "b m d"]:
        """The prompts after the first tokens, in the place of the `taken` tokens that stand there."""
        ours = self.weight.to(hidden.dtype).expand(len(hidden), -1, -1)
        return torch.cat([hidden[:, : self.start], ours, hidden[:, self.start + taken :]], 1)

    def take(self, hidden: Float[Tensor, "b m d"]) -> Float[Tensor, "b n d"]:
        """The tokens without the prompts."""
        return torch.cat([hidden[:, : self.start], hidden[:, self.start + len(self.weight) :]], 1)

    def insert_before(self, block: nn.Module) -> None:
        """Let `block` see the prompts beside what it is given."""
        block.register_forward_pre_hook(self._insert, with_kwargs=True)

    def replace_before(self, block: nn.Module) -> None:
        """Let `block` see these prompts instead of those that the block before it gives on."""
        block.register_forward_pre_hook(self._replace, with_kwargs=True)

    def remove_after(self, block: nn.Module) -> None:
        """Let what follows `block` see no prompts."""
        block.register_forward_hook(self._remove)

    def make_room_in(self, block: nn.Module) -> None:
        """Let `block` treat the prompts as the token before them in all that it is told of tokens.

        Masks, rotations and relative positions are made outside of the blocks, for the tokens alone. A
        prompt takes the entries of the token before it: it sees what that token sees, is seen by whoever
        sees it, and stands at its position; where attention is causal, each prompt also sees those before it
        and none behind it.
        """
        block.register_forward_pre_hook(self._make_room, with_kwargs=True)

    def _insert(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple | None:
        return self._changed(args, kwargs, 0)

    def _replace(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple | None:
        return self._changed(args, kwargs, len(self.weight))

    def _changed(self, args: tuple, kwargs: dict[str, Any], taken: int) -> tuple | None:
        if not self.active:
            return None
        if args:
            return (self.put(args[0], taken), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": self.put(kwargs["hidden_states"], taken)}

    def _remove(self, module: nn.Module, args: tuple, output: Any) -> Any:
        if not self.active:
            return None
        return (self.take(output[0]), *output[1:]) if isinstance(output, tuple) else self.take(output)

    def _make_room(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple | None:
        if not self.active:
            return None
        changed, causal = dict(kwargs), bool(kwargs.get("is_causal"))
        if len(args) > 1:  # every family's blocks take hidden states first, and then the mask
            args = (args[0], self._mask(args[1], causal), *args[2:])
        if "attention_mask" in kwargs:
            changed["attention_mask"] = self._mask(kwargs["attention_mask"], causal)
        if (rotations := kwargs.get("position_embeddings")) is not None:
            changed["position_embeddings"] = tuple(self._repeated(each, -2) for each in rotations)
        if (relative := kwargs.get("relative_pos")) is not None:
            changed["relative_pos"] = self._repeated(self._repeated(relative, -1), -2)
        return args, changed

    def _mask(self, mask: Tensor | None, causal: bool) -> Tensor | None:
        if mask is None:
            return None
        mask = self._repeated(self._repeated(mask, -1), -2)
        if not causal:
            return mask
        later = torch.ones(mask.shape[-2:], dtype=torch.bool, device=mask.device).triu(1)
        return mask.masked_fill(later, False if mask.dtype == torch.bool else -torch.inf)

    def _repeated(self, given: Shaped[Tensor, "..."], dim: int) -> Shaped[Tensor, "..."]:
        """The entry of the token before the prompts once more for each of them; one entry is that of all."""
        size = given.shape[dim]
        if size == 1:
            return given
        place = torch.arange(size, device=given.device)
        ours = place[self.start - 1].expand(len(self.weight))
        return given.index_select(dim, torch.cat([place[: self.start], ours, place[self.start :]]))
