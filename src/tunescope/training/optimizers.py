"""Optimisers by name, with their settings."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from tunescope.study.component import Component

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer

Momentum = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Component, ABC):
    """A rule that turns gradients into steps."""

    weight_decay: Annotated[float, Field(ge=0)]

    @abstractmethod
    def build(self, params: "Iterable[nn.Parameter]", lr: float) -> "TorchOptimizer":
        """The optimiser over `params`; the schedule multiplies `lr` afterwards."""

    def groups(self, params: "Iterable[nn.Parameter]") -> list[dict[str, Any]]:
        """Two groups: matrices, which decay, and vectors (biases, norms, class tokens), which do not.

        >>> from torch import nn
        >>> [group["weight_decay"] for group in AdamW().groups(nn.Linear(3, 2).parameters())]
        [0.01, 0.0]
        """
        params = list(params)
        vectors = [p for p in params if p.ndim < 2 or (p.ndim > 2 and p.numel() == p.shape[-1])]
        kept = {id(p) for p in vectors}
        return [
            {"params": [p for p in params if id(p) not in kept], "weight_decay": self.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
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

    def build(self, params: "Iterable[nn.Parameter]", lr: float) -> "TorchOptimizer":
        """AdamW of torch."""
        import torch

        return torch.optim.AdamW(self.groups(params), lr=lr, betas=self.betas, eps=self.eps)


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

    def build(self, params: "Iterable[nn.Parameter]", lr: float) -> "TorchOptimizer":
        """SGD of torch."""
        import torch

        return torch.optim.SGD(self.groups(params), lr=lr, momentum=self.momentum, nesterov=self.nesterov)
