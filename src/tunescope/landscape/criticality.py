"""How far back, and how roughly, a layer can be set before the model makes more mistakes."""

import math

import numpy as np
from jaxtyping import Float

from tunescope.landscape.layers import Layer
from tunescope.landscape.perturb import Perturbed, noise, weights_below

# σ as shares of the root mean square of the layer's tuned weights.
GRID = tuple(2.0**power for power in range(-9, 2))
SLACK = 0.01  # ε: how much larger the error may become


def criticality(
    layer: Layer, head: str, at: Float[np.ndarray, " a"], slack: float = SLACK, draws: int = 1, seed: int = 0
) -> float | None:
    """μ = min over α, σ of α²·‖θ₁ − θ₀‖² / σ², such that E_u[error(θ(α) + u)] ≤ error(θ₁) + ε, u ~ N(0, σ²).

    θ is the layer's weights alone, all others stay tuned, and θ(α) = (1 − α)·θ₀ + α·θ₁; the error is the
    share of examples that are wrong. 0 where the layer can be set back to θ₀, however little noise it bears
    there; large where only a narrow and short valley leads from θ₁ towards θ₀.

    α and σ are on grids (σ 2⁻⁹ to 2 times the root mean square of the layer's weights); at every α, σ grows
    until the error is too large. The expectation is over antithetic pairs, the same in every layer and at
    every α and σ. The paper has an absolute ε on the training set, which its models fit; here it is above the
    tuned model's own error.

    Args:
        layer: at hand, of `layers`.
        head: the name of the one that the error is read under.
        at: α from 0 to 1, ascending.
        slack: ε.
        draws: antithetic pairs of noise.
        seed: of the noise.

    Returns:
        None where labels are numbers, or where not even the least noise is borne at θ₁.

    Source: Chatterji et al. 2019 (arXiv 1912.00528), module criticality.
    """
    tuned = layer.now()[head]
    if tuned.right is None:
        return None
    weights = weights_below(layer.walk.encoder.model, [layer.block.path])
    count = sum(weight.numel() for weight in weights.values())
    size = math.sqrt(sum(float(w.detach().double().square().sum()) for w in weights.values()) / count)
    allowed = 1 - float(tuned.right.mean()) + slack + 1e-12

    def borne(alpha: float, sigma: float) -> bool:
        errors = []
        with layer.walk.block_at(layer.block, alpha), Perturbed(weights, adaptive=False) as moved:
            for draw in range(draws):
                for sign in (1, -1):
                    drawn = noise(moved.names, moved.weights, seed, draw)
                    moved.to(each * (sign * sigma) for each in drawn)
                    right = layer.now()[head].right
                    assert right is not None
                    errors.append(1 - right.mean())
        return float(np.mean(errors)) <= allowed

    least = math.inf  # α / σ
    for alpha in at.tolist():
        for share in GRID:
            if alpha / (share * size) >= least:
                continue
            if not borne(alpha, share * size):
                break
            least = alpha / (share * size)
            if alpha == 0:
                return 0.0
    return least**2 * layer.walk.distance(layer.block) ** 2 if math.isfinite(least) else None
