"""The losses of one batch wherever the weights are, and their first gradients."""

from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from tunescope.landscape.evaluate import losses
from tunescope.landscape.perturb import Weights, gradient, tracked
from tunescope.landscape.suffix import Features
from tunescope.models.encoder import Encoder


class Batch:
    """The mean losses of one batch under several heads, wherever the weights are.

    Args:
        encoder: in evaluation mode.
        inputs: of the batch; texts, at most `TEXT_BATCH`.
        labels: classes, or numbers.
        heads: on the features; they stay as they are.
        normalise_logits: whether logits are centred and divided by their norm first.
    """

    def __init__(
        self,
        encoder: Encoder,
        inputs: Shaped[np.ndarray, "b ..."],
        labels: Shaped[np.ndarray, " b"],
        heads: Sequence[nn.Module],
        *,
        normalise_logits: bool = False,
    ):
        if inputs.dtype == np.uint8:
            self.features: Features = partial(encoder.image_features, encoder.pixels(inputs))
        else:
            self.features = partial(encoder.text_features, inputs.tolist())
        self._labels = torch.from_numpy(labels).to(encoder.device)
        self._heads, self._normalise = tuple(heads), normalise_logits

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def heads(self) -> int:
        """How many heads there are."""
        return len(self._heads)

    def loss(self, features: Features, head: int) -> Float[Tensor, ""]:
        """The mean loss under one head, float64."""
        return self._under(self._heads[head], features())

    def losses(self, features: Features) -> Float[Tensor, " k"]:
        """The mean loss under each head; the features are computed once."""
        found = features()
        return torch.stack([self._under(head, found) for head in self._heads])

    def _under(self, head: nn.Module, features: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
        outputs = head(features)
        return losses(normalised(outputs) if self._normalise else outputs, self._labels).double().mean()


def normalised(logits: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
    """(z − mean z) / ‖z − mean z‖₂: the loss no longer follows the logits' scale.

    Source: Andriushchenko et al. 2023 (arXiv 2302.07011), section 4.

    >>> normalised(torch.tensor([[1.0, 3.0]])).tolist() == normalised(torch.tensor([[0.0, 9.0]])).tolist()
    True
    """
    centred = logits - logits.mean(-1, keepdim=True)
    return centred / torch.linalg.vector_norm(centred, dim=-1, keepdim=True).clamp_min(1e-10)


class Slopes:
    """L and ∂L/∂w of every block at once: one backward pass for each head, when they are first asked for.

    Args:
        batch: whose loss.
        weights: of all that will be asked for.
    """

    def __init__(self, batch: Batch, weights: Weights):
        self._batch, self._weights = batch, weights

    @cached_property
    def _found(self) -> list[tuple[float, dict[str, Tensor]]]:
        found = []
        with tracked(self._weights.values()):
            for head in range(self._batch.heads):
                loss = partial(self._batch.loss, self._batch.features, head)
                value, slopes = gradient(tuple(self._weights.values()), loss)
                found.append((value, dict(zip(self._weights, slopes, strict=True))))
        return found

    def of(self, head: int, weights: Weights) -> tuple[float, list[Tensor]]:
        """The loss under one head, and its gradient in some of the weights."""
        value, slopes = self._found[head]
        return value, [slopes[name] for name in weights]
