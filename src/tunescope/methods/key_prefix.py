"""Learned keys and values of one attention module, which belong to no token."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

DEVIATION = 0.02  # standard deviation at the start


class KeyPrefix(nn.Module):
    """Keys and values P_K, P_V ∈ ℝ^{p×h·d}, the same for every example; from N(0, 0.02²) at the start.

    Args:
        count: p.
        heads: h.
        head_dim: d.

    >>> keys, values = KeyPrefix(5, heads=2, head_dim=3)()
    >>> tuple(keys.shape)
    (2, 5, 3)
    """

    def __init__(self, count: int, heads: int, head_dim: int):
        super().__init__()
        self.key = nn.Parameter(torch.empty(count, heads * head_dim).normal_(0, DEVIATION))
        self.value = nn.Parameter(torch.empty(count, heads * head_dim).normal_(0, DEVIATION))
        self.heads = heads
        self.active = True

    def forward(self) -> tuple[Float[Tensor, "h p d"], Float[Tensor, "h p d"]]:
        """Keys and values, head by head."""
        keys, values = (
            each.unflatten(-1, (self.heads, -1)).transpose(0, 1) for each in (self.key, self.value)
        )
        return keys, values
