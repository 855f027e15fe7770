"""Features of a run's examples, computed no further than something before them is trained."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunescope.data.examples import Examples
from tunescope.methods.method import Installed
from tunescope.models.encoder import Encoder
from tunescope.training.augment import crop_flip
from tunescope.training.prefix import Prefix, Refused, first_trained, prefix


class Features:
    """Features of one set of examples, by index.

    They are constants of the run where nothing in the tower that reads the examples is trained; else they are
    computed from the activations that enter the first trained block, or from the pixels.

    Args:
        encoder: on which the method was installed, in evaluation mode.
        installed: the method at work.
        examples: whose features they are.
        batch_size: of the passes that fill the caches.
        augmented: whether pixels are changed at random before they are fed.
        every_block: whether every block must run, because a penalty looks into it.
        autocast: the precision to compute in.
        reuse: False computes everything from the pixels at every step.
    """

    def __init__(
        self,
        encoder: Encoder,
        installed: Installed,
        examples: Examples,
        *,
        batch_size: int,
        augmented: bool = False,
        every_block: bool = False,
        autocast: Callable[[], AbstractContextManager],
        reuse: bool = True,
    ):
        self.encoder, self.inputs, self.autocast = encoder, examples.inputs, autocast
        self.batch_size = batch_size
        self.constant: Tensor | None = None
        self.prefix: Prefix | Refused = Refused("not asked for")
        fixed = first_trained(encoder.map.tower(examples.tower), installed.trainable) is None
        if reuse and fixed and not augmented and not every_block:
            self.constant = self.all()
        elif reuse:
            self.prefix = prefix(
                encoder,
                installed,
                examples.inputs,
                batch_size=batch_size,
                augmented=augmented,
                every_block=every_block,
                autocast=autocast,
            )

    @property
    def reused(self) -> dict[str, str | int | None]:
        """What is computed once, in a line of the log."""
        if self.constant is not None:
            return {"reused": "features"}
        if isinstance(self.prefix, Prefix):
            return {"reused": "prefix", "blocks": self.prefix.blocks}
        return {"reused": None, "because": self.prefix.reason}

    def at(self, indices: NDArray[np.int64], uniform: NDArray[np.float64] | None = None) -> Tensor:
        """Features "b d" of the examples at `indices`, with gradients to what is trained.

        Args:
            indices: of the examples.
            uniform: numbers for `crop_flip`, a row for each index; None leaves the images as they are.
        """
        if self.constant is not None:
            return self.constant[indices]
        if isinstance(self.prefix, Prefix):
            return self.prefix.features(indices)
        if uniform is None:
            return self.encoder.features(self.inputs[indices])
        pixels = self.encoder.pixels(self.inputs[indices])
        pixels = crop_flip(pixels, torch.as_tensor(uniform, dtype=pixels.dtype, device=pixels.device))
        return self.encoder.image_features(pixels)

    def all(self, indices: NDArray[np.int64] | None = None) -> Tensor:
        """Features of all examples, or of those at `indices`, in order, without gradients."""
        wanted = np.arange(len(self.inputs)) if indices is None else indices
        with torch.no_grad(), self.autocast():
            return torch.cat([self.at(batch) for batch in batches(wanted, self.batch_size)])


def batches(indices: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Consecutive pieces of `size`; the last one may be smaller.

    >>> [piece.tolist() for piece in batches(np.arange(5), 2)]
    [[0, 1], [2, 3], [4]]
    """
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
