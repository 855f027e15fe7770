"""Loss and accuracy of an encoder, wherever on its landscape it stands, under one head or several."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from tunescope.data.examples import Examples
from tunescope.models.encoder import Encoder


@dataclass(frozen=True)
class Outcome:
    """What a model made of n examples under one head.

    Args:
        losses: ℓᵢ, float64: cross-entropy in nats, or squared errors where labels are numbers.
        right: whether the label had the highest logit, of equal ones the first; None of numbers.
    """

    losses: Float[np.ndarray, " n"]
    right: Bool[np.ndarray, " n"] | None

    @property
    def loss(self) -> float:
        """The mean of ℓᵢ."""
        return float(self.losses.mean())

    @property
    def acc1(self) -> float | None:
        """The share that is right; None where labels are numbers."""
        return None if self.right is None else float(self.right.mean())


def evaluate(
    encoder: Encoder, examples: Examples, heads: Mapping[str, nn.Module], batch_size: int = 128
) -> dict[str, Outcome]:
    """Loss and accuracy on one split under each head; the features are computed once.

    Args:
        encoder: in evaluation mode.
        examples: the split.
        heads: by name, from features "n d" to logits, or to one number where labels are numbers.
        batch_size: examples per forward pass.
    """
    found = features(encoder, examples.inputs, batch_size)
    with torch.no_grad():
        return {name: outcome(head(found), examples.labels) for name, head in heads.items()}


@torch.no_grad()
def features(
    encoder: Encoder, inputs: Shaped[np.ndarray, "n ..."], batch_size: int = 128
) -> Float[Tensor, "n d"]:
    """Features of any number of examples, without gradients."""
    starts = range(0, len(inputs), batch_size)
    return torch.cat([encoder.features(inputs[start : start + batch_size]) for start in starts])


def outcome(outputs: Float[Tensor, "n c"], labels: Shaped[np.ndarray, " n"]) -> Outcome:
    """Losses and hits of a head's outputs, in float64.

    >>> found = outcome(torch.tensor([[0.0, 0.0], [0.0, 0.0]]), np.array([0, 1]))
    >>> found.losses.round(4).tolist(), found.right.tolist()
    ([0.6931, 0.6931], [True, False])
    >>> outcome(torch.tensor([[3.0]]), np.array([1.0]))
    Outcome(losses=array([4.]), right=None)
    """
    outputs = outputs.detach().double()
    found = losses(outputs, torch.from_numpy(labels).to(outputs.device)).cpu().numpy()
    if labels.dtype.kind == "f":
        return Outcome(found, None)
    logits = outputs.cpu().numpy()
    own = logits[np.arange(len(labels)), labels]
    return Outcome(found, (logits.argmax(1) == labels) & ~np.isnan(own))


def losses(outputs: Float[Tensor, "n c"], labels: Shaped[Tensor, " n"]) -> Float[Tensor, " n"]:
    """ℓᵢ of a head's outputs, with gradients: −ln softmax(z)[y] in nats of classes, (z − y)² of numbers.

    >>> losses(torch.tensor([[3.0], [1.0]]), torch.tensor([1.0, 1.0])).tolist()
    [4.0, 0.0]
    """
    if labels.is_floating_point():
        return (outputs.squeeze(-1) - labels.to(outputs.dtype)).square()
    return nn.functional.cross_entropy(outputs, labels, reduction="none")
