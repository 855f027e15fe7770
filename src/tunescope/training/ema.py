"""The exponential moving average of what is trained."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tunescope.errors import MethodError


class EMA:
    """θ̄ ← d_t·θ̄ + (1 − d_t)·θ after every step t from 1, with d_t = min(d, (1 + t) / (10 + t)).

    θ̄ starts as θ, and is kept in the parameters' own type. d_t is small at first, so that the start is left
    behind in the few steps of a fine-tuning: with d = 0.999 throughout, 90 % of it would still be there after
    100 of them.

    Source: Polyak & Juditsky 1992 (SIAM J. Control Optim. 30(4)) for averaging; Tarvainen & Valpola 2017
    (arXiv 1703.01780), section 2, for the exponential one; d_t is `tf.train.ExponentialMovingAverage`'s with
    `num_updates`.

    Args:
        params: what is averaged, by name.
        decay: d, in (0, 1).

    Raises:
        MethodError: AdaLoRA, which prunes while it trains.

    >>> p = nn.Parameter(torch.zeros(1))
    >>> ema = EMA({"p": p}, decay=0.9)
    >>> with torch.no_grad():
    ...     _ = p.fill_(11)
    >>> ema.update(step=1)  # d₁ = 2 / 11
    >>> with ema.used():
    ...     p.item()
    9.0
    >>> p.item()
    11.0
    """

    def __init__(self, params: Mapping[str, nn.Parameter], decay: float):
        if any(".lora_E." in name for name in params):
            raise MethodError(
                "train.ema: adalora prunes its triplets on the way, and an average over them is not pruned; "
                "take lora, or leave ema out"
            )
        self.params, self.decay = dict(params), decay
        self.average = {name: p.detach().clone() for name, p in params.items()}

    @property
    def state(self) -> dict[str, Tensor]:
        """The average by name, to be saved, and to be written to where it is read again."""
        return {f"ema.{name}": value for name, value in self.average.items()}

    @torch.no_grad()
    def start(self) -> None:
        """Begin at the parameters as they are now."""
        for name, p in self.params.items():
            self.average[name].copy_(p)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters after a step, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, p in self.params.items():
            self.average[name].mul_(decay).add_(p, alpha=1 - decay)

    @contextmanager
    def used(self) -> Iterator[None]:
        """The average in the place of the parameters, which are put back bit for bit."""
        before = {name: p.detach().clone() for name, p in self.params.items()}
        self.keep()
        try:
            yield
        finally:
            self._fill(before)

    def keep(self) -> None:
        """The average in the place of the parameters, for good."""
        self._fill(self.average)

    @torch.no_grad()
    def _fill(self, values: Mapping[str, Tensor]) -> None:
        for name, p in self.params.items():
            p.copy_(values[name])
