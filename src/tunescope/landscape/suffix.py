"""The features of a batch from each block on: what lies below a block is computed once."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tunescope.models.modelmap import Tower, module_at
from tunescope.models.one_token import OneToken
from tunescope.models.pooling import Read, reading
from tunescope.models.replay import Forwards, Output, standing_in

Features = Callable[[], Float[Tensor, "b d"]]


def suffixes(
    model: nn.Module, tower: Tower, features: Features, *, one_token: bool = False
) -> Iterator[Features]:
    """For every block of a tower in turn, what computes the features from that block's input on.

    Through the model's own forward pass, in which the embeddings and the blocks below hand out what they gave
    instead of computing. Equal to the whole pass bit for bit, and so are gradients in the weights that are
    left. Two activations "b n d" are held, however many blocks there are. While one block is at hand its
    weights may be moved; they must be back when the next one is asked for.

    Args:
        model: an encoder's, in evaluation mode.
        tower: the one that is read.
        features: one forward pass over the batch.
        one_token: where the tower is read at one token, let the last block compute no other while it is not
            itself at hand: equal to rounding (1e-5) then. Its weights ask for no gradients meanwhile.
    """
    read, embeddings = Read(), module_at(model, tower.embeddings)
    with reading(model, tower, read):
        given: Forwards = [(embeddings, _output(embeddings, features, []).give)]
    row = read.row if tower.grid is None else 0 if tower.pooling == "cls" else None
    tail = OneToken(model, tower, row).forwards if one_token and row is not None else []
    for layer, block in enumerate(tower.blocks):
        last = layer == len(tower.blocks) - 1
        here = [*given, *(() if last else tail)]
        yield lambda here=here: _replayed(features, here)
        if not last:
            module = module_at(model, block.path)
            entered = _output(module, features, given).give
            given = [given[0], *((below, entered) for below, _ in given[1:]), (module, entered)]


def _replayed(features: Features, forwards: Forwards) -> Float[Tensor, "b d"]:
    """The features, with some modules computing by other functions."""
    with standing_in(forwards):
        return features()


class _Reached(Exception):
    """The module that was wanted has been run; the forward pass need not go on."""


@torch.no_grad()
def _output(module: nn.Module, features: Features, given: Forwards) -> Output:
    """What one module gives."""
    found = Output(module)

    def record(*args: Any, **kwargs: Any) -> Any:
        found.record(*args, **kwargs)
        raise _Reached

    with suppress(_Reached):
        _replayed(features, [*given, (module, record)])
    return found
