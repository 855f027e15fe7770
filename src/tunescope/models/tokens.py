"""The token that a tower is read by, as it leaves every block: beside the forward pass, by hooks."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tunescope.models.modelmap import Tower, module_at
from tunescope.models.pooling import pooled_row, text_inputs

if TYPE_CHECKING:
    from tunescope.models.encoder import Encoder


class Tokens:
    """What one forward pass left behind every block, at the token that the tower is read by."""

    def __init__(self, blocks: int):
        self.found: list[list[Tensor]] = [[] for _ in range(blocks)]

    @property
    def stacked(self) -> Float[Tensor, "l b d"]:
        """The tokens of every block; of several passes one after the other, such as chunks of texts."""
        return torch.stack([torch.cat(found) for found in self.found])


@contextmanager
def pooled_tokens(encoder: "Encoder", tower: str) -> Iterator[Tokens]:
    """Keep the token that a tower is read by behind each of its blocks, with its graph.

    [CLS]; the token that a text is pooled at; where an attention head pools (SigLIP's vision) there is none,
    and it is the mean over patch tokens. Visual prompts are left out of that mean.

    Args:
        encoder: a loaded encoder.
        tower: `vision` or `text`.
    """
    place = encoder.map.tower(tower)
    tokens = Tokens(len(place.blocks))
    rows: list[int | Tensor] = [0]

    def before(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        rows[0] = pooled_row(module, place, text_inputs(args, kwargs)[0])

    def take(layer: int, hidden: Tensor) -> None:
        if place.grid is None or place.pooling == "cls":
            tokens.found[layer].append(_at(hidden, rows[0]))
        else:  # counted from the end: behind the last block, visual prompts are gone
            tokens.found[layer].append(hidden[:, -place.grid[0] * place.grid[1] :].mean(1))

    with ExitStack() as stack:
        if place.grid is None:
            tower_module = module_at(encoder.model, place.path)
            stack.callback(tower_module.register_forward_pre_hook(before, with_kwargs=True).remove)
        stack.enter_context(after_blocks(encoder, place, take))
        yield tokens


@contextmanager
def after_blocks(encoder: "Encoder", tower: Tower, take: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Call `take(layer, hidden)` with what each block gives on, [b, tokens, d], while the context is open."""

    def after(layer: int, module: nn.Module, args: tuple, output: Any) -> None:
        take(layer, output[0] if isinstance(output, tuple) else output)

    with ExitStack() as stack:
        for layer, block in enumerate(tower.blocks):
            handle = module_at(encoder.model, block.path).register_forward_hook(partial(after, layer))
            stack.callback(handle.remove)
        yield


def _at(hidden: Tensor, row: int | Tensor) -> Tensor:
    return hidden[:, row] if isinstance(row, int) else hidden[torch.arange(len(row), device=row.device), row]
