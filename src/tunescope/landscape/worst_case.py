"""Worst-case sharpness: the largest rise of a loss within a radius, found by Auto-PGD."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tunescope.landscape.perturb import Perturbed, Weights, finite, noise

Norm = Literal["linf", "l2"]
MOMENTUM = 0.75  # the share of a step that is new
CLIMBING = 0.75  # the share of steps that must climb for their size to stay


class Worst(NamedTuple):
    """The worst that was found within one radius.

    Args:
        radius: ρ.
        increase: of the loss; at least 0, because not moving at all is allowed.
        trace: the largest increase so far, at the start and after every step.
    """

    radius: float
    increase: float
    trace: tuple[float, ...]


def worst_case(
    weights: Weights,
    loss: Callable[[], Float[Tensor, ""]],
    radii: Sequence[float],
    norm: Norm,
    *,
    steps: int = 20,
    adaptive: bool = True,
    seed: int = 0,
    first: tuple[float, Sequence[Tensor]] | None = None,
) -> list[Worst]:
    """The maximum of L(w + δ) − L(w) over |δᵢ| ≤ ρ|wᵢ| (`linf`) or ‖δ/|w|‖₂ ≤ ρ (`l2`), by Auto-PGD.

    With u = δ/|w| (plain: u = δ) both sets are balls: a step goes along sign(∇ᵤL) or ∇ᵤL/‖∇ᵤL‖₂, and the
    projection is a clamp or a rescaling. The first step is 2ρ; to every later one a quarter of the last move
    is added, of the step itself three quarters are taken. At Auto-PGD's checkpoints, where fewer than three
    quarters of the steps climbed or nothing at all was gained, the step is halved and the search goes on from
    the best point. Radii are taken in ascending order: the first starts at w, each next one at the best point
    so far, scaled to its own radius, and that point counts as found. So nothing falls as ρ grows. Where the
    gradient at w is exactly 0 (a minimum), the first step follows a random direction.

    Beside the weights at most five tensors of their size are held, and two in bfloat16, which is enough for
    directions.

    Args:
        weights: what is moved, in place, and put back bit for bit.
        loss: at the weights as they are.
        radii: ρ.
        norm: which ball.
        steps: per radius; each is one forward and one backward pass.
        adaptive: whether the ball scales with |w|.
        seed: of the random direction.
        first: L(w) and ∂L/∂w, in the order of the weights, where they are known already.

    Returns:
        in ascending order of ρ.

    Raises:
        ModelError: no weights, or a loss that is not finite.

    Source: Croce and Hein 2020 (arXiv 2003.01690), algorithm 1, as Andriushchenko et al. 2023
    (arXiv 2302.07011) use it on weights.

    >>> weight = torch.tensor([1.0, -2.0])
    >>> found = worst_case({"w": weight}, lambda: 3 * weight.sum(), [0.1, 0.2], "linf")
    >>> [round(each.increase, 5) for each in found]  # ρ Σ |wᵢ gᵢ|
    [0.9, 1.8]
    """
    with Perturbed(weights, adaptive) as moved:
        climb = _Climb(moved, loss, norm, steps, seed)
        here, slope = moved.slope(loss) if first is None else (first[0], moved.scaled(first[1]))
        best = _Point(here, [torch.zeros_like(each) for each in slope], climb.way(slope))
        found: list[Worst] = []
        for radius in sorted(radii):
            start = climb.at([each * (radius / found[-1].radius) for each in best.u]) if found else best
            best, trace = climb.within(radius, start, max(best, start, key=lambda point: point.value))
            increases = tuple(value - here for value in trace)
            found.append(Worst(radius, increases[-1], increases))
    return found


def checkpoints(steps: int) -> list[int]:
    """The steps after which Auto-PGD looks back: ⌈p·steps⌉, p₁ = 0.22, and each gap 0.03 smaller, to 0.06.

    >>> checkpoints(20)
    [5, 9, 12, 14, 16, 18, 19, 20]
    """
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    marks = {math.ceil(round(share * steps, 9)) for share in shares[1:]}
    return sorted(mark for mark in marks if mark <= steps)


class _Point(NamedTuple):
    """A perturbation, the loss there, and the way up from there."""

    value: float
    u: list[Tensor]
    way: list[Tensor]


class _Climb:
    """One search at work on weights that may be moved."""

    def __init__(
        self, moved: Perturbed, loss: Callable[[], Float[Tensor, ""]], norm: Norm, steps: int, seed: int
    ):
        self._moved, self._loss, self._norm, self._steps, self._seed = moved, loss, norm, steps, seed
        self._marks = checkpoints(steps)

    def at(self, u: list[Tensor], last: bool = False) -> _Point:
        """The point at a perturbation; nobody goes on from the last one, so it has no way up."""
        self._moved.to(u)
        if not last:
            value, slope = self._moved.slope(self._loss)
            return _Point(value, u, self.way(slope))
        with torch.no_grad():
            value = self._loss()
        finite(value)
        return _Point(value.item(), u, [])

    def within(self, radius: float, start: _Point, best: _Point) -> tuple[_Point, list[float]]:
        """The best point of one radius, and the best value so far at the start and after every step."""
        point, previous = start, start.u
        step, climbed, mark = 2 * radius, 0, 0
        before = step, best.value
        trace = [best.value]
        for k in range(1, self._steps + 1):
            u = self._next(point, previous, step, radius, first=k == 1)
            value, previous = point.value, point.u
            point = self.at(u, last=k == self._steps)
            climbed += point.value > value
            best = max(best, point, key=lambda each: each.value)
            trace.append(best.value)
            if k in self._marks and k < self._steps:
                stuck = before == (step, best.value)
                before = step, best.value
                if stuck or climbed < CLIMBING * (k - mark):
                    step, point, previous = step / 2, best, best.u
                climbed, mark = 0, k
        return best, trace

    def _next(
        self, point: _Point, previous: list[Tensor], step: float, radius: float, first: bool
    ) -> list[Tensor]:
        found = [u + step * way.to(u.dtype) for u, way in zip(point.u, point.way, strict=True)]
        self._project(found, radius)
        if not first:
            for new, u, old in zip(found, point.u, previous, strict=True):
                new.sub_(u).mul_(MOMENTUM).add_(u - old, alpha=1 - MOMENTUM).add_(u)
            self._project(found, radius)
        return found

    def _project(self, u: list[Tensor], radius: float) -> None:
        """Back into the ball, in place."""
        if self._norm == "linf":
            for each in u:
                each.clamp_(-radius, radius)
        elif (norm := _norm(u)) > radius:
            for each in u:
                each.mul_(radius / norm)

    def way(self, slope: list[Tensor]) -> list[Tensor]:
        """The direction of the steepest ascent in the ball; a random one where it is flat."""
        if not _norm(slope):
            slope = list(noise(self._moved.names, self._moved.weights, self._seed, 0))
        if self._norm == "linf":
            return [each.sign().bfloat16() for each in slope]
        norm = _norm(slope)
        return [(each / norm).bfloat16() for each in slope]


def _norm(parts: Iterable[Tensor]) -> float:
    return math.sqrt(sum(torch.linalg.vector_norm(part).item() ** 2 for part in parts))
