"""What leaves every block of a tower: the token that the tower is read by, and the norms of the patches."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tunescope.data.examples import Examples
from tunescope.models.encoder import TEXT_BATCH, Encoder
from tunescope.models.modelmap import Tower, module_at
from tunescope.models.pooling import pooled_row
from tunescope.probes.probe import Subject
from tunescope.probes.sample import read_by, spread


class States(NamedTuple):
    """Representations of the same examples.

    Args:
        layers: after each block, the pooled token; where an attention head pools (SigLIP's vision), there is
            none, and it is the mean over patch tokens.
        features: what the tower is read as.
        norms: of the patch tokens after each block; None for texts.
    """

    layers: Float[np.ndarray, "l n d"]
    features: Float[np.ndarray, "n f"]
    norms: Float[np.ndarray, "l n p"] | None


def states(subject: Subject, tower: str, examples: Examples, count: int) -> States:
    """The representations of at most `count` examples, or as many prompts, spread evenly over the split."""
    place = subject.encoder.map.tower(tower)
    seen: list[list[np.ndarray]] = [[] for _ in place.blocks]
    norms: list[list[np.ndarray]] = [[] for _ in place.blocks]
    features: list[np.ndarray] = []
    for forward, row in _forwards(subject, place, examples, count):

        def keep(layer: int, hidden: Tensor, row: int | Tensor | None = row) -> None:
            # counted from the end: behind the last block, visual prompts are gone
            patches = hidden if place.grid is None else hidden[:, -place.grid[0] * place.grid[1] :]
            seen[layer].append(_numpy(patches.mean(1) if row is None else _at(hidden, row)))
            if place.grid is not None:
                norms[layer].append(_numpy(patches.norm(dim=-1)))

        with torch.no_grad(), after_blocks(subject.encoder, place, keep):
            features.append(_numpy(forward()))
    return States(
        np.stack([np.concatenate(found) for found in seen]),
        np.concatenate(features),
        None if place.grid is None else np.stack([np.concatenate(found) for found in norms]),
    )


@contextmanager
def after_blocks(encoder: Encoder, tower: Tower, take: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Call `take(layer, hidden)` with what each block gives on, [b, tokens, d], while the context is open."""

    def after(layer: int, module: nn.Module, args: tuple, output: Any) -> None:
        take(layer, output[0] if isinstance(output, tuple) else output)

    with ExitStack() as stack:
        for layer, block in enumerate(tower.blocks):
            handle = module_at(encoder.model, block.path).register_forward_hook(partial(after, layer))
            stack.callback(handle.remove)
        yield


def _forwards(
    subject: Subject, place: Tower, examples: Examples, count: int
) -> Iterator[tuple[Callable[[], Tensor], int | Tensor | None]]:
    """One call of the tower per batch, and where its pooled tokens stand."""
    encoder, every = subject.encoder, read_by(place.name, examples)
    chosen = every[spread(count, len(every))]
    size = subject.batch_size if place.grid is not None else min(subject.batch_size, TEXT_BATCH)
    for start in range(0, len(chosen), size):
        some = chosen[start : start + size]
        if place.grid is not None:
            row = 0 if place.pooling == "cls" else None
        else:
            ids = encoder.tokens(some.tolist())["input_ids"]
            row = pooled_row(module_at(encoder.model, place.path), place, ids)
        yield lambda some=some: encoder.features(some), row


def _at(hidden: Tensor, row: int | Tensor) -> Tensor:
    return hidden[:, row] if isinstance(row, int) else hidden[torch.arange(len(row), device=row.device), row]


def _numpy(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
