"""The bottleneck that every adapter is made of."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

NEAR = 0.01  # standard deviation of Houlsby's initialisation


class AdapterLayer(nn.Module):
    """c(x) = s ⊙ (W_up · f(W_down · x + b_down) + b_up), to be added to what flows in the block.

    Starts with biases at zero and, by `near`, either with W_up = 0 and W_down drawn as in `nn.Linear`, so
    that c = 0 exactly (as in LoRA; He et al. 2022), or with both matrices from a normal distribution of
    standard deviation 0.01, cut at two of them (Houlsby et al. 2019, section 3.6), so that c ≈ 0.

    Args:
        width: d, size of what flows in the block.
        rank: r, size of the bottleneck.
        activation: f.
        scale: s, fixed; or `channels`: one learned factor for each channel, 1 at the start.
        near: start near zero instead of at zero.

    >>> layer = AdapterLayer(4, 2, "gelu")
    >>> layer(torch.ones(1, 4)).tolist()
    [[0.0, 0.0, 0.0, 0.0]]
    >>> sum(p.numel() for p in layer.parameters())  # 2rd + r + d
    22
    """

    def __init__(
        self,
        width: int,
        rank: int,
        activation: Literal["gelu", "relu"],
        scale: float | Literal["channels"] = 1.0,
        near: bool = False,
    ):
        super().__init__()
        self.down = nn.Linear(width, rank)
        self.up = nn.Linear(rank, width)
        self.activation = {"gelu": F.gelu, "relu": F.relu}[activation]
        self.scale = nn.Parameter(torch.ones(width)) if scale == "channels" else scale
        self.active = True
        self.given: Tensor | None = None
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.bias)
        if near:
            for matrix in (self.down.weight, self.up.weight):
                nn.init.trunc_normal_(matrix, std=NEAR, a=-2 * NEAR, b=2 * NEAR)
        else:
            nn.init.zeros_(self.up.weight)

    def forward(self, hidden: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """The change c(x), without the x that it is added to."""
        return self.scale * self.up(self.activation(self.down(hidden)))

    def behind(self, module: nn.Module) -> None:
        """Let `module` give y + c(y) where it gave y; of a tuple, its first value."""
        module.register_forward_hook(self._behind)

    def beside(self, first: nn.Module, last: nn.Module) -> None:
        """With x the input of `first`, let `last` give y + c(x) where it gave y."""
        first.register_forward_pre_hook(self._read)
        last.register_forward_hook(self._beside)

    def _behind(self, module: nn.Module, args: tuple, output: Any) -> Any:
        if not self.active:
            return None
        if isinstance(output, tuple):
            return (output[0] + self(output[0]), *output[1:])
        return output + self(output)

    def _read(self, module: nn.Module, args: tuple) -> None:
        self.given = args[0] if self.active else None

    def _beside(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
        if self.given is None:
            return None
        given, self.given = self.given, None
        return output + self(given)
