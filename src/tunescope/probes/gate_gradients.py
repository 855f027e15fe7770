"""How every example's loss would change with every head's gate, from one backward pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from tunescope.models.encoder import Encoder
from tunescope.models.seam import gate

# Losses of the examples of a batch from their features, under each of k heads on top.
Losses = Callable[[Float[Tensor, "b d"]], Float[Tensor, "k b"]]


def gate_gradients(
    encoder: Encoder, tower: str, inputs: Shaped[np.ndarray, "b ..."], losses: Losses
) -> Float[Tensor, "k b l h"]:
    """∂ℓᵢ/∂gₗₕ at g = 1, of each example by itself, in one backward pass for each k.

    Every example has gates of its own, so the gradient of the summed loss holds each one's apart. That needs
    an example's loss to depend on that example alone: a contrastive loss has no such gradient. Parameters are
    frozen meanwhile, and their gradients are left as they are. Costs what one batch gradient costs.

    Args:
        encoder: a loaded encoder, in evaluation mode.
        tower: `vision` or `text`: the one that reads the inputs.
        inputs: one forward pass of them.
        losses: of the examples, from features.

    Source: Michel et al. 2019 (arXiv 1905.10650), section 4.1, whose batches are of one example.
    """
    place = encoder.map.tower(tower)
    gates = torch.ones(len(inputs), len(place.blocks), place.heads, device=encoder.device, requires_grad=True)
    with _frozen(encoder.model), torch.enable_grad():
        with gate(encoder, tower, gates):
            features = encoder.features(inputs)
        each = losses(features)
        last = len(each) - 1
        found = [
            torch.autograd.grad(loss.sum(), gates, retain_graph=k < last)[0] for k, loss in enumerate(each)
        ]
    return torch.stack(found)


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No parameter asks for a gradient, so nothing is kept for one."""
    asking = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)
