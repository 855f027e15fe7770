"""One layer alone walks from the base's weights to the tuned ones, the rest stays tuned."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import nn

from tunescope.data.examples import Examples
from tunescope.landscape.evaluate import Outcome, outcome
from tunescope.landscape.plain import Walk
from tunescope.landscape.suffix import Features, suffixes
from tunescope.models.encoder import TEXT_BATCH
from tunescope.models.modelmap import Block

Told = Callable[[int, int], None]  # layers done, of how many


class Layer:
    """One block at hand: what the model makes of the examples while that block stands elsewhere.

    Args:
        walk: the encoder's, at θ₁.
        block: the one that moves.
        rest: for each batch, the features from what enters the block on.
        heads: by name, from features to logits.
        labels: of all examples.
    """

    def __init__(
        self,
        walk: Walk,
        block: Block,
        rest: Sequence[Features],
        heads: Mapping[str, nn.Module],
        labels: Shaped[np.ndarray, " n"],
    ):
        self.walk, self.block = walk, block
        self._rest, self._heads, self._labels = rest, heads, labels

    def at(self, alpha: float) -> dict[str, Outcome]:
        """By head, with this block at (1 − α)·θ₀ + α·θ₁ and all else at θ₁."""
        with self.walk.block_at(self.block, alpha):
            return self.now()

    def now(self) -> dict[str, Outcome]:
        """By head, with the block's weights as they stand."""
        with torch.no_grad():
            found = torch.cat([features() for features in self._rest])
            return {name: outcome(head(found), self._labels) for name, head in self._heads.items()}


def layers(
    walk: Walk, tower: str, heads: Mapping[str, nn.Module], examples: Examples, batch_size: int = 128
) -> Iterator[Layer]:
    """Every block of a tower in turn; what enters it is computed once. Inside of `walk.at(1)`.

    Equal to whole forward passes bit for bit, at about half of their cost. Held are two activations "n t c"
    of all examples, and the weights of one block. A layer is at hand until the next one is asked for.

    Args:
        walk: the encoder's.
        tower: the one that reads the examples.
        heads: by name, as tuned, from features to logits.
        examples: of one split.
        batch_size: examples per forward pass; of texts at most `TEXT_BATCH`.
    """
    place = walk.encoder.map.tower(tower)
    size = batch_size if place.grid is not None else min(batch_size, TEXT_BATCH)
    parts = [examples.inputs[start : start + size] for start in range(0, len(examples), size)]
    model = walk.encoder.model
    rests = [suffixes(model, place, partial(walk.encoder.features, part)) for part in parts]
    for block, *rest in zip(place.blocks, *rests, strict=True):
        yield Layer(walk, block, rest, heads, examples.labels)


def layer_losses(
    walk: Walk,
    tower: str,
    head: nn.Module,
    examples: Examples,
    at: Float[np.ndarray, " a"],
    batch_size: int = 128,
    told: Told = lambda done, of: None,
) -> Float[np.ndarray, "l a"]:
    """Mean losses with each layer alone at each α; `curve.barrier` makes barriers of them.

    Rewinding layer l to θ₀ costs the first of its row less the last.

    Args:
        walk: the encoder's, at neither end.
        tower: the one that reads the examples.
        head: as tuned.
        examples: of one split.
        at: α from 0 to 1, both among them.
        batch_size: examples per forward pass.
        told: called after every layer.

    Source: Adilova et al. 2024 (arXiv 2307.06966) for single layers; Chatterji et al. 2019 (arXiv 1912.00528)
    for rewinding.
    """
    count = len(walk.encoder.map.tower(tower).blocks)
    found: list[list[float]] = []
    with walk.at(1.0):
        for done, layer in enumerate(layers(walk, tower, {"": head}, examples, batch_size), 1):
            found.append([layer.at(alpha)[""].loss for alpha in at.tolist()])
            told(done, count)
    return np.array(found)
