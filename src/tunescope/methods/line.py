"""The straight line between a model as it was and as it is tuned, walked in place."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Line:
    """θ(α) = (1 − α)·θ₀ + α·θ₁ over some of a model's parameters (WiSE-FT's convention: α = 1 is tuned).

    Every point is made from both ends, so that walking to and fro does not drift: α = 1 is θ₁ and α = 0 is
    θ₀, bit for bit. Beside the model itself both ends are held, and no copy is made for a point.

    Source: Wortsman et al. 2022 (arXiv 2109.01903), section 3, equation 1.

    Args:
        held: the parameters by name, at θ₁ now; the line writes into them.
        start: θ₀ by the same names; not copied.

    >>> weight = torch.tensor([3.0, -1.0])
    >>> line = Line({"w": weight}, {"w": torch.tensor([1.0, 1.0])})
    >>> line.at(0.25)
    >>> weight.tolist()
    [1.5, 0.5]
    >>> line.at(1.0)
    >>> weight.tolist()
    [3.0, -1.0]
    """

    def __init__(self, held: Mapping[str, Tensor], start: Mapping[str, Tensor]):
        self.held = {name: held[name] for name in start}
        self.start = {name: value.to(held[name].device) for name, value in start.items()}
        self.end = {name: value.detach().clone() for name, value in self.held.items()}

    def at(self, alpha: float) -> None:
        """Put the parameters at θ(α); beyond 0 and 1 the line goes on."""
        for name, value in self.held.items():
            torch.lerp(self.start[name], self.end[name], alpha, out=value.detach())
