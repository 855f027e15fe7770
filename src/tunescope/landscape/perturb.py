"""Weights moved by a share of themselves, in place, and put back bit for bit."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tunescope.errors import ModelError
from tunescope.models.modelmap import Tower, module_at

Weights = Mapping[str, Tensor]


def tower_weights(model: nn.Module, tower: Tower) -> dict[str, Tensor]:
    """All of a tower's weights by name, frozen or not: its embeddings, blocks, last norm and projection."""
    return weights_below(model, [tower.path, *tower.final])


def weights_below(model: nn.Module, paths: Iterable[str]) -> dict[str, Tensor]:
    """Every weight of the modules at some dotted paths, by name, biases included.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    >>> list(weights_below(model, ["1"]))
    ['1.weight', '1.bias']
    """
    return {
        f"{path}.{name}" if path else name: weight
        for path in paths
        for name, weight in module_at(model, path).named_parameters()
    }


class Perturbed:
    """w = w₀ + c·u, in place, with c = |w₀| where perturbations are adaptive and 1 where they are plain.

    Inside the context the weights may be moved, and ask for gradients, frozen or not. Behind it, after an
    exception too, they are w₀ again, bit for bit, and as trainable as they were. Of w₀ one copy
    is held. A weight that is 0 stays 0 where c = |w₀|.

    Args:
        weights: by name, of one device each.
        adaptive: whether c = |w₀|.

    Raises:
        ModelError: no weights.

    Source: Kwon et al. 2021 (arXiv 2102.11600), section 3, for perturbations that scale with the weights.

    >>> weight = nn.Parameter(torch.tensor([2.0, -4.0]), requires_grad=False)
    >>> with Perturbed({"w": weight}) as moved:
    ...     moved.to([torch.tensor([0.5, 0.5])])
    ...     weight.tolist()
    [3.0, -2.0]
    >>> weight.tolist()
    [2.0, -4.0]
    """

    def __init__(self, weights: Weights, adaptive: bool = True):
        if not weights:
            raise ModelError("nothing to perturb: no weights were given; expected those of a tower or a part")
        self.names = tuple(weights)
        self.weights = tuple(weights.values())
        self.adaptive = adaptive
        self._origin: list[Tensor] = []

    def __enter__(self) -> "Perturbed":
        self._tracking = tracked(self.weights)
        self._tracking.__enter__()
        self._origin = [weight.detach().clone() for weight in self.weights]
        return self

    def __exit__(self, *error: object) -> None:
        try:
            with torch.no_grad():
                for weight, origin in zip(self.weights, self._origin, strict=True):
                    weight.copy_(origin)
        finally:
            self._origin = []
            self._tracking.__exit__(None, None, None)

    def to(self, u: Iterable[Tensor]) -> None:
        """Move to w₀ + c·u; u may be an iterator, so that one tensor of it is held at a time."""
        with torch.no_grad():
            for weight, origin, each in zip(self.weights, self._origin, u, strict=True):
                torch.addcmul(
                    origin,
                    origin.abs() if self.adaptive else torch.ones_like(origin),
                    each,
                    out=weight.detach(),
                )

    def stretch(self, factor: float) -> None:
        """Move to w₀ + factor·(w − w₀), from where the weights are."""
        with torch.no_grad():
            for weight, origin in zip(self.weights, self._origin, strict=True):
                torch.lerp(origin, weight, factor, out=weight.detach())

    def slope(self, loss: Callable[[], Float[Tensor, ""]]) -> tuple[float, list[Tensor]]:
        """A loss where the weights are now, and ∂loss/∂u = c·∂loss/∂w."""
        value, found = gradient(self.weights, loss)
        return value, self.scaled(found)

    def scaled(self, slopes: Sequence[Tensor]) -> list[Tensor]:
        """∂L/∂u of ∂L/∂w."""
        if not self.adaptive:
            return list(slopes)
        return [each * origin.abs() for each, origin in zip(slopes, self._origin, strict=True)]


@contextmanager
def tracked(weights: Iterable[Tensor], on: bool = True) -> Iterator[None]:
    """Let gradients reach weights, frozen ones too, or none of them; behind it all are as they were."""
    before = [(weight, weight.requires_grad) for weight in weights]
    try:
        for weight, _ in before:
            weight.requires_grad_(on)
        yield
    finally:
        for weight, asked in before:
            weight.requires_grad_(asked)


def gradient(
    weights: Sequence[Tensor], loss: Callable[[], Float[Tensor, ""]], *, create_graph: bool = False
) -> tuple[float, list[Tensor]]:
    """A loss and its gradient in weights that are tracked; zero in those that it does not depend on.

    Raises:
        ModelError: the loss is not finite.
    """
    with torch.enable_grad():
        value = loss()
    finite(value)
    if not value.requires_grad:
        return value.item(), [torch.zeros_like(weight) for weight in weights]
    found = torch.autograd.grad(
        value, weights, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    return value.item(), list(found)


def finite(losses: Tensor) -> None:
    """See that losses are finite.

    Raises:
        ModelError: they are not.
    """
    if not losses.isfinite().all():
        raise ModelError(
            "a loss is not finite where sharpness is measured: either the model has diverged, or the weights "
            "were moved too far; take smaller radii"
        )


def noise(names: Sequence[str], weights: Sequence[Tensor], seed: int, draw: int) -> Iterator[Tensor]:
    """Standard normal numbers in the shapes of weights, on their devices.

    Those of one weight follow from seed, draw and its name alone, so they are the same in every batch, at
    every radius, and whether the weight is moved by itself or with others.

    >>> pair = [torch.zeros(2), torch.zeros(2)]
    >>> whole, alone = list(noise(["a", "b"], pair, 0, 1)), list(noise(["b"], pair[:1], 0, 1))
    >>> torch.equal(whole[1], alone[0]), torch.equal(whole[0], whole[1])
    (True, False)
    """
    for name, weight in zip(names, weights, strict=True):
        digest = sha256(f"{seed}/{draw}/{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        drawn = torch.empty(weight.shape, dtype=torch.float32).normal_(generator=generator)
        yield drawn.to(weight.device, weight.dtype)
