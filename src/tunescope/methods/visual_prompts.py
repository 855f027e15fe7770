"""Prompt tokens between the prefix and the patches in a vision tower's blocks, by hooks."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class VisualPrompts(nn.Module):
    """p learned tokens for one block, P ∈ ℝ^{p×d}, the same for every image; uniform on (−bound, bound).

    Args:
        count: p.
        width: d.
        bound: of the values at the start.
        start: tokens before them ([CLS], registers).

    >>> prompts = VisualPrompts(2, 3, bound=0.0, start=1)
    >>> prompts.put(torch.ones(1, 3, 3))[0, :, 0].int().tolist()
    [1, 0, 0, 1, 1]
    """

    def __init__(self, count: int, width: int, bound: float, start: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, width).uniform_(-bound, bound))
        self.start = start
        self.active = True

    def put(self, hidden: Float[Tensor, "b n d"], taken: int = 0) -> Float[Tensor, "b m d"]:
        """The prompts after the prefix, in the place of the `taken` tokens that stand there."""
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
