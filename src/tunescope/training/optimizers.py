"""Optimisers by name, with their settings."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import repeat
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from tunescope.study.component import Component

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer

Momentum = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Component, ABC):
    """A rule that turns gradients into steps."""

    @abstractmethod
    def build(
        self, params: "Iterable[nn.Parameter]", lr: float, scales: Iterable[float] | None = None
    ) -> "TorchOptimizer":
        """The optimiser over `params`, in groups that say by which `scale` their rate differs from the run's.

        Args:
            params: what is trained.
            lr: the run's learning rate; at every step the loop sets each group's to rate · `scale`.
            scales: one for each parameter; None is 1 for all.
        """

    def displaced(self, params: "Sequence[nn.Parameter]") -> AbstractContextManager[None] | None:
        """Where the gradient that a step follows is taken, if not at the weights: a context with them moved.

        Args:
            params: what is trained, with the gradients at the weights.

        Returns:
            a context behind which the weights are what they were, bit for bit; None: at the weights.
        """
        return None


def groups(
    params: "Iterable[nn.Parameter]", weight_decay: float, scales: Iterable[float] | None = None
) -> list[dict[str, Any]]:
    """Matrices, which decay, before vectors (biases, norms, class tokens), which do not; by scale.

    >>> from torch import nn
    >>> [(group["weight_decay"], group["scale"]) for group in groups(nn.Linear(3, 2).parameters(), 0.01)]
    [(0.01, 1.0), (0.0, 1.0)]
    >>> scaled = groups(nn.Linear(3, 2).parameters(), 0.01, scales=(0.5, 2.0))
    >>> [(group["weight_decay"], group["scale"]) for group in scaled]
    [(0.01, 0.5), (0.0, 2.0)]
    """
    found: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for p, scale in zip(params, repeat(1.0) if scales is None else scales, strict=scales is not None):
        vector = p.ndim < 2 or (p.ndim > 2 and p.numel() == p.shape[-1])
        found.setdefault((vector, scale), []).append(p)
    # Sorted by the first alone, and stably: the scales that there are do not say what comes before what.
    return [
        {"params": found[vector, scale], "weight_decay": 0.0 if vector else weight_decay, "scale": scale}
        for vector, scale in sorted(found, key=lambda place: place[0])
    ]


class AdamW(Optimizer):
    """Adam with decoupled weight decay: θ ← θ − lr·(m̂ / (√v̂ + ε) + λ·θ).

    Source: Loshchilov & Hutter 2019 (arXiv 1711.05101), algorithm 2.

    Args:
        weight_decay: λ, on matrices only.
        betas: decay of the means of gradient and squared gradient.
        eps: ε.
    """

    kind: str = "adamw"
    source: ClassVar[str] = "Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2"
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-8

    def build(
        self, params: "Iterable[nn.Parameter]", lr: float, scales: Iterable[float] | None = None
    ) -> "TorchOptimizer":
        """AdamW of torch."""
        import torch

        grouped = groups(params, self.weight_decay, scales)
        return torch.optim.AdamW(grouped, lr=lr, betas=self.betas, eps=self.eps)


class SGD(Optimizer):
    """Gradient descent with momentum: v ← μ·v + (g + λ·θ), θ ← θ − lr·v.

    Source: Sutskever et al. 2013 (ICML, "On the importance of initialization and momentum"), section 2.

    Args:
        weight_decay: λ, on matrices only.
        momentum: μ.
        nesterov: take the gradient one step of momentum ahead; needs a momentum.
    """

    kind: str = "sgd"
    source: ClassVar[str] = "Sutskever et al. 2013, section 2"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    momentum: Momentum = 0.9
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_has_momentum(self):
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0, such as 0.9")
        return self

    def build(
        self, params: "Iterable[nn.Parameter]", lr: float, scales: Iterable[float] | None = None
    ) -> "TorchOptimizer":
        """SGD of torch."""
        import torch

        grouped = groups(params, self.weight_decay, scales)
        return torch.optim.SGD(grouped, lr=lr, momentum=self.momentum, nesterov=self.nesterov)
