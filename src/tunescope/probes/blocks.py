"""What leaves every block of a tower: the token that the tower is read by, and the norms of the patches."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tunescope.data.examples import Examples
from tunescope.data.sample import spread
from tunescope.models.tokens import after_blocks, pooled_tokens
from tunescope.probes.probe import Subject
from tunescope.probes.sample import read_by


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
    encoder, every = subject.encoder, read_by(tower, examples)
    place = encoder.map.tower(tower)
    chosen = every[spread(count, len(every))]
    layers: list[np.ndarray] = []
    norms: list[list[np.ndarray]] = [[] for _ in place.blocks]
    features: list[np.ndarray] = []

    def keep(layer: int, hidden: Tensor) -> None:
        if place.grid is not None:  # counted from the end: behind the last block, visual prompts are gone
            norms[layer].append(_numpy(hidden[:, -place.grid[0] * place.grid[1] :].norm(dim=-1)))

    for start in range(0, len(chosen), subject.batch_size):
        with (
            torch.no_grad(),
            pooled_tokens(encoder, tower) as tokens,
            after_blocks(encoder, place, keep),
        ):
            features.append(_numpy(encoder.features(chosen[start : start + subject.batch_size])))
        layers.append(_numpy(tokens.stacked))
    return States(
        np.concatenate(layers, 1),
        np.concatenate(features),
        None if place.grid is None else np.stack([np.concatenate(found) for found in norms]),
    )


def _numpy(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
