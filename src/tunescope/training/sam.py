"""SAM and ASAM: steps that follow the gradient where the loss is highest nearby."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, field_validator

from tunescope.study.component import Component, resolve
from tunescope.study.component import Optimizer as AnyOptimizer
from tunescope.training.optimizers import Optimizer

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer as TorchOptimizer

ETA = 0.01  # η, as in the paper's experiments


class SAM(Optimizer):
    """Follows the gradient at the weights' worst neighbour: θ ← base(θ, ∇L(θ + ε)).

    SAM: ε = ρ · g / ‖g‖ with g = ∇L(θ). Adaptive (ASAM): ε = ρ · T²g / ‖T g‖ with T = |θ| + η, η = 0.01.

    ‖·‖ is over all that is trained, head included; L is the loss of one batch with its penalties. A step
    takes two passes over that batch, with the same dropout; the loss that is told is the first pass's, the
    gradient norm the second's, and it alone is clipped. Weight decay, momentum and the rest are the base's. T
    holds for every trained number, as in the paper's equation; its authors' code leaves T = 1 for what is not
    named a weight (biases, tokens).

    Source: Foret et al. 2021 (arXiv 2010.01412), equation 2 with p = 2; Kwon et al. 2021 (arXiv 2102.11600),
    algorithm 1, with p = 2.

    Args:
        base: the optimiser that makes the step.
        rho: ρ, length of ε; for ASAM, of T⁻¹ε, and there about ten times as large.
        adaptive: ASAM.

    >>> SAM(base={"kind": "sgd", "momentum": 0.9}).base.kind
    'sgd'
    """

    kind: str = "sam"
    source: ClassVar[str] = "Foret et al. 2021, arXiv 2010.01412, equation 2; Kwon et al. 2021, 2102.11600"
    base: AnyOptimizer = Field(default_factory=lambda: resolve("optimizer", "adamw"))
    rho: Annotated[float, Field(gt=0)] = 0.05
    adaptive: bool = False

    @field_validator("base")
    @classmethod
    def _base_makes_the_step(cls, base: Component) -> Component:
        if isinstance(base, SAM):
            raise ValueError("base: sam around sam; give the optimiser that makes the step, such as adamw")
        return base

    def build(
        self, params: "Iterable[nn.Parameter]", lr: float, scales: Iterable[float] | None = None
    ) -> "TorchOptimizer":
        """The base's."""
        assert isinstance(self.base, Optimizer)
        return self.base.build(params, lr, scales)

    def displaced(self, params: "Sequence[nn.Parameter]") -> AbstractContextManager[None]:
        """A context with the weights at θ + ε; parameters without a gradient stay where they are."""
        return self._displaced([p for p in params if p.grad is not None])

    @contextmanager
    def _displaced(self, params: "Sequence[nn.Parameter]") -> Iterator[None]:
        import torch

        gradients = [p.grad for p in params if p.grad is not None]
        with torch.no_grad():
            before = [p.detach().clone() for p in params]  # θ + ε − ε is not θ
            moves = ascent(before, gradients, self.rho, self.adaptive)
            for p, move in zip(params, moves, strict=True):
                p.add_(move)
        try:
            yield
        finally:
            with torch.no_grad():
                for p, value in zip(params, before, strict=True):
                    p.copy_(value)


def ascent(
    weights: "Sequence[Tensor]", gradients: "Sequence[Tensor]", rho: float, adaptive: bool = False
) -> "list[Tensor]":
    """ε of SAM, or of ASAM where `adaptive`; 0 where all gradients are, or where one is not finite.

    Args:
        weights: θ, tensors of any shape.
        gradients: g, of the same shapes.
        rho: ρ.
        adaptive: scale by T = |θ| + η.

    >>> import torch
    >>> ascent([torch.tensor([1.0, 1.0])], [torch.tensor([3.0, 4.0])], rho=0.5)
    [tensor([0.3000, 0.4000])]
    """
    import torch
    from torch import nn

    scales = [w.abs() + ETA if adaptive else torch.ones_like(w) for w in weights]
    scaled = [scale * g for scale, g in zip(scales, gradients, strict=True)]
    norm = nn.utils.get_total_norm(scaled).item()
    if not 0 < norm < math.inf:  # there is no direction: the second pass is the first one again
        return [torch.zeros_like(g) for g in scaled]
    return [rho / norm * scale * g for scale, g in zip(scales, scaled, strict=True)]
