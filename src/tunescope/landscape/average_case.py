"""Average-case sharpness: what random perturbations do to a loss."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tunescope.landscape.perturb import Perturbed, Weights, finite, noise


def average_case(
    weights: Weights,
    losses: Callable[[], Float[Tensor, "*k"]],
    radii: Sequence[float],
    *,
    draws: int,
    adaptive: bool = True,
    seed: int = 0,
) -> Float[np.ndarray, "radii draws *k"]:
    """By how much losses rise when weights move at random: E L(w + δ) − L(w), δ = ρ|w| ⊙ z, z ~ N(0, 1).

    Each draw is an antithetic pair, (L(w + δ) + L(w − δ))/2 − L(w): what is odd in δ, the gradient first of
    all, cancels, and what is left is curvature. For a quadratic loss with Hessian H one pair is ½ δᵀHδ, and
    the expectation ½ ρ² Σᵢ wᵢ² Hᵢᵢ. All radii, batches and losses share their draws (common random numbers),
    which follow from the seed and the weights' names. The mean over draws has the standard error s/√draws.

    Args:
        weights: what is moved, in place, and put back bit for bit; one copy of them is held.
        losses: mean losses at the weights as they are, such as one under each head.
        radii: ρ.
        draws: pairs.
        adaptive: δ = ρ|w| ⊙ z; else δ = ρ·z.
        seed: of the draws.

    Raises:
        ModelError: no weights, or a loss that is not finite.

    Source: Andriushchenko et al. 2023 (arXiv 2302.07011), section 3.

    >>> weight = torch.tensor([1.0, 2.0])
    >>> found = average_case({"w": weight}, lambda: weight.double().square().sum(), [0.1], draws=400)
    >>> print(f"{found.mean():.2f}")  # ½ ρ² Σ wᵢ² · 2 = 0.01 · (1 + 4)
    0.05
    """
    with torch.no_grad(), Perturbed(weights, adaptive) as moved:
        here = _read(losses)
        found = np.empty((len(radii), draws, *here.shape))
        for draw in range(draws):
            moved.to(noise(moved.names, moved.weights, seed, draw))
            stands = 1.0
            for at, radius in enumerate(radii):
                pair = []
                for factor in (radius, -radius):
                    moved.stretch(factor / stands)
                    stands = factor
                    pair.append(_read(losses))
                found[at, draw] = (pair[0] - here + (pair[1] - here)) / 2
    return found


def _read(losses: Callable[[], Tensor]) -> Float[np.ndarray, "*k"]:
    value = losses()
    finite(value)
    return value.double().cpu().numpy().copy()
