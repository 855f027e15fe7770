"""The heads probe at work: losses of every example without every head, and gradients of the gates."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tunescope.models.ablated import head_means
from tunescope.models.encoder import TEXT_BATCH, Encoder
from tunescope.models.leave_one_out import leave_one_out
from tunescope.probes.gate_gradients import gate_gradients


@dataclass(frozen=True)
class HeadLosses:
    """What taking heads out did to n examples, under each of k heads on top of the features.

    Args:
        whole: losses with all attention heads.
        without: losses without each attention head.
        gradients: ∂ℓᵢ/∂gate of each attention head, at 1.
        features: with all attention heads first, then without each, layer by layer; None where not kept.
    """

    whole: Float[np.ndarray, "k n"]
    without: Float[np.ndarray, "k l h n"]
    gradients: Float[np.ndarray, "k l h n"]
    features: Float[np.ndarray, "m n d"] | None

    @property
    def differences(self) -> Float[np.ndarray, "k l h n"]:
        """ℓᵢ without a head less ℓᵢ with all: their mean is its importance."""
        return self.without - self.whole[:, None, None]


def head_losses(
    encoder: Encoder,
    tower: str,
    heads: list[nn.Module],
    inputs: Shaped[np.ndarray, "n ..."],
    labels: Shaped[np.ndarray, " n"],
    *,
    mean: bool,
    precision: Literal["float32", "bfloat16"] = "float32",
    batch_size: int = 128,
    keep: bool = False,
) -> HeadLosses:
    """Per-example losses with all heads and without each, and gate gradients.

    Args:
        encoder: in evaluation mode.
        tower: the one that reads the inputs.
        heads: from features to logits, or to one number where labels are numbers; none = features alone.
        inputs: the examples.
        labels: their classes, or numbers.
        mean: put a head's mean over these examples in its place, and not zero.
        precision: of the encoder's forward passes without a head; gradients are always float32.
        batch_size: examples per forward pass; of texts at most `TEXT_BATCH`.
        keep: also keep the features.
    """
    place = encoder.map.tower(tower)
    size = batch_size if place.grid is not None else min(batch_size, TEXT_BATCH)
    parts = [slice(start, start + size) for start in range(0, len(inputs), size)]
    means = head_means(encoder, tower, (inputs[part] for part in parts)) if mean else None
    layers, count = len(place.blocks), place.heads
    features: np.ndarray | None = None
    losses = np.empty((len(heads), 1 + layers * count, len(inputs)))
    gradients = np.empty((len(heads), layers, count, len(inputs)))
    device = encoder.device.type
    for part in parts:
        own = torch.from_numpy(labels[part]).to(encoder.device)

        def each(found: Float[Tensor, "b d"], own: Tensor = own) -> Float[Tensor, "k b"]:
            return torch.stack([_of(head(found), own) for head in heads])

        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            for at, (_, _, found) in enumerate(leave_one_out(encoder, tower, inputs[part], means)):
                found = found.to(torch.promote_types(found.dtype, torch.float32))
                if keep:
                    if features is None:
                        features = np.empty((losses.shape[1], len(inputs), found.shape[1]), np.float32)
                    features[at, part] = found.cpu().numpy()
                if heads:
                    with torch.no_grad(), torch.autocast(device, enabled=False):
                        losses[:, at, part] = each(found).cpu().numpy()
        if heads:
            found = gate_gradients(encoder, tower, inputs[part], each)
            gradients[..., part] = found.permute(0, 2, 3, 1).cpu().numpy()
    without = losses[:, 1:].reshape(len(heads), layers, count, len(inputs))
    return HeadLosses(losses[:, 0], without, gradients, features)


def linear_losses(
    features: Float[np.ndarray, "m n d"],
    weight: Float[np.ndarray, "c d"],
    bias: Float[np.ndarray, " c"],
    labels: Shaped[np.ndarray, " n"],
) -> Float[np.ndarray, "m n"]:
    """Losses of kept features under a linear head."""
    parts = [torch.from_numpy(part) for part in (features, weight, bias, labels)]
    rows, matrix, added, own = parts
    return np.stack([_of(torch.nn.functional.linear(row, matrix, added), own).numpy() for row in rows])


def _of(outputs: Float[Tensor, "b c"], labels: Tensor) -> Float[Tensor, " b"]:
    """Of classes the cross-entropy, −ln softmax(z)[y], in nats; of numbers the squared error, (z − y)²."""
    if labels.is_floating_point():
        return (outputs.squeeze(-1) - labels.to(outputs.dtype)).square()
    return cross_entropy(outputs, labels, reduction="none")
