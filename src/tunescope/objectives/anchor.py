"""What the trained parameters are held to: where tuning starts from, or zero."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tunescope.models.encoder import Encoder


def trained(encoder: "Encoder") -> "dict[str, nn.Parameter]":
    """The encoder's trained parameters, by name."""
    return {name: p for name, p in encoder.model.named_parameters() if p.requires_grad}


@dataclass(frozen=True)
class Anchor:
    """Parameters of the encoder that are trained, and what they were before the first step.

    With an adapter these are the adapter's own, and where they start from the model is the base model.

    Args:
        params: the parameters, by name; they go on changing.
        start: copies of their values; a parameter without one is held to zero.
    """

    params: "dict[str, nn.Parameter]"
    start: "dict[str, Tensor]"

    @classmethod
    def of(cls, encoder: "Encoder") -> "Anchor":
        """The encoder's trained parameters as they are now."""
        params = trained(encoder)
        return cls(params, {name: p.detach().clone() for name, p in params.items()})

    def squared(self, weights: "dict[str, Tensor] | None" = None) -> "Tensor":
        """Σ_i w_i · (θ_i − θ⁰_i)², with gradients; all weights 1 where none are given. 0 of no parameters."""
        import torch

        total = torch.zeros((), device=next((p.device for p in self.params.values()), None))
        for name, p in self.params.items():
            squares = (p - self.start[name] if name in self.start else p).square()
            total = total + (squares if weights is None else weights[name] * squares).sum()
        return total
