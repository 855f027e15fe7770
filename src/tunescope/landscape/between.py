"""The path between two checkpoints, and the plane through three, without a study."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tunescope.data.examples import Examples
from tunescope.errors import ModelError
from tunescope.landscape.curve import alphas
from tunescope.landscape.evaluate import Outcome, evaluate
from tunescope.landscape.on_top import OnTop
from tunescope.landscape.plain import Place, Walk
from tunescope.models.encoder import Encoder
from tunescope.models.load import load

Checkpoint = Encoder | str | Path
Read = tuple[str, str]  # component (`trained`, `text`) and split


@dataclass(frozen=True)
class Curve:
    """What a model made of n examples under one head, at every α of a path.

    Args:
        alphas: 0 is the base, 1 the tuned weights.
        losses: ℓᵢ, in nats, or squared errors where labels are numbers.
        right: which were right; None of numbers.
    """

    alphas: Float[np.ndarray, " a"]
    losses: Float[np.ndarray, "a n"]
    right: Bool[np.ndarray, "a n"] | None

    @property
    def loss(self) -> Float[np.ndarray, " a"]:
        """The mean loss at every α."""
        return self.losses.mean(1)

    @property
    def acc1(self) -> Float[np.ndarray, " a"] | None:
        """The accuracy at every α; None of numbers."""
        return None if self.right is None else self.right.mean(1)


@dataclass(frozen=True)
class Plane:
    """Loss and accuracy on a grid in the plane through three models.

    Args:
        x: along û = (θ_b − θ_a) / ‖θ_b − θ_a‖, in units of the weights; θ_a is at 0.
        y: along v̂, what of θ_c − θ_a is perpendicular to û, made a unit vector.
        models: coordinates of θ_a, θ_b and θ_c.
        loss: mean loss at every point of the grid, by component and split.
        acc1: accuracy likewise; none of numbers.
    """

    x: Float[np.ndarray, " x"]
    y: Float[np.ndarray, " y"]
    models: Float[np.ndarray, "3 2"]
    loss: dict[Read, Float[np.ndarray, "y x"]]
    acc1: dict[Read, Float[np.ndarray, "y x"]]

    def mix(self, *weights: float) -> tuple[float, float]:
        """Where Σ wᵢ·θᵢ is, for three weights that sum to 1: (1/3, 1/3, 1/3) is the uniform soup."""
        x, y = np.array(weights) @ self.models
        return float(x), float(y)


def path(
    base: Checkpoint,
    tuned: Checkpoint,
    sets: Mapping[str, Examples],
    *,
    head: nn.Module | None = None,
    origin: Mapping[str, Tensor] | None = None,
    points: int = 21,
    batch_size: int = 128,
) -> dict[Read, Curve]:
    """Losses and accuracies along θ(α) = (1 − α)·θ_base + α·θ_tuned, by component and split.

    Images of a model with a text tower are read under the head of prompts (`text`), and all but zero-shot
    splits under the trained head (`trained`), where one is given.

    Args:
        base: an encoder, a folder or a name; what walks, and is left as it was.
        tuned: of the same architecture. Of an encoder, nothing is copied.
        sets: by split: `val`, `test`, `shift:<data>`, `zero_shot:<data>`.
        head: trained on the tuned encoder's features.
        origin: the head's parameters before it was trained, from where it walks too; None keeps it fixed.
        points: number of α from 0 to 1.
        batch_size: examples per forward pass.

    Raises:
        ModelError: the two are of different architectures or sizes, or one holds an adapter.
        MethodError: the origin is another head's.
    """
    first, second = (_loaded(each) for each in (base, tuned))
    with Walk(first, _weights(first, second), device=second.device) as walk:
        heads = OnTop(walk, head, origin, second)
        at = alphas(points)
        found = [outcomes(walk, heads, float(alpha), sets, batch_size) for alpha in at]
    curves = {read: [each[read] for each in found] for read in found[0]}
    return {
        read: curve(at, [one.losses for one in each], [one.right for one in each if one.right is not None])
        for read, each in curves.items()
    }


def curve(at: np.ndarray, losses: list[np.ndarray], right: list[np.ndarray]) -> Curve:
    """What was found at each α, put together; `right` is empty where labels are numbers."""
    return Curve(at, np.stack(losses), np.stack(right) if right else None)


def plane(
    a: Checkpoint,
    b: Checkpoint,
    c: Checkpoint,
    sets: Mapping[str, Examples],
    *,
    head: nn.Module | None = None,
    points: int = 11,
    margin: float = 0.2,
    batch_size: int = 128,
) -> Plane:
    """Loss and accuracy in the plane through three checkpoints: their averages (soups) lie in it.

    P(x, y) = θ_a + x·û + y·v̂, û and v̂ orthonormal; see `Plane`.

    Args:
        a: an encoder, a folder or a name; what walks, and is left as it was.
        b: of the same architecture.
        c: of the same architecture, not on the line through the other two.
        sets: by split, as in `path`.
        head: on the features, fixed; without one, images are read under the head of prompts.
        points: of the grid, down and across.
        margin: how far the grid goes beyond the triangle, as a share of its extent.
        batch_size: examples per forward pass.

    Raises:
        ModelError: different architectures or sizes, an adapter, or three models on one line.

    Source: Garipov et al. 2018 (arXiv 1802.10026), section 3 and appendix A.1.
    """
    first, second, third = (_loaded(each) for each in (a, b, c))
    ends = [_weights(first, other) for other in (second, third)]
    models = _corners(first, *ends)
    low, high = models.min(0), models.max(0)
    room = margin * (high - low)
    x, y = (np.linspace(low[i] - room[i], high[i] + room[i], points) for i in (0, 1))
    found: list[list[dict[Read, Outcome]]] = []
    with Walk(first, *ends, device=second.device) as walk:
        heads = OnTop(walk, head)
        for down in y:
            t = down / models[2, 1]
            places = [((across - t * models[2, 0]) / models[1, 0], t) for across in x]
            found.append([outcomes(walk, heads, place, sets, batch_size) for place in places])
    reads = found[0][0]

    def grid(value: str, read: Read) -> Float[np.ndarray, "y x"]:
        return np.array([[getattr(each[read], value) for each in row] for row in found])

    losses = {read: grid("loss", read) for read in reads}
    numbers = {read for read, one in reads.items() if one.right is None}
    return Plane(x, y, models, losses, {read: grid("acc1", read) for read in reads if read not in numbers})


def outcomes(
    walk: Walk, heads: OnTop, place: Place, sets: Mapping[str, Examples], batch_size: int
) -> dict[Read, Outcome]:
    """What a walk makes of every split at one place; each split's features are computed once.

    Args:
        walk: the encoder's.
        heads: what stands on its features.
        place: α, or coordinates.
        sets: by split.
        batch_size: examples per forward pass.
    """
    found: dict[Read, Outcome] = {}
    with walk.at(place) as encoder:
        for split, examples in sets.items():
            under = heads.at(place, split, examples)
            if under:
                each = evaluate(encoder, examples, under, batch_size)
                found |= {(component, split): one for component, one in each.items()}
    return found


def _loaded(checkpoint: Checkpoint) -> Encoder:
    return checkpoint if isinstance(checkpoint, Encoder) else load(checkpoint)


def _weights(base: Encoder, other: Encoder) -> dict[str, Tensor]:
    """The other's weights, once it is sure that the base has the same."""
    if base.map.family != other.map.family:
        raise ModelError(
            f"{base.name!r} is a {base.map.family} model and {other.name!r} a {other.map.family} one, so no "
            "line leads from one to the other; take checkpoints of one architecture"
        )
    found = dict(other.model.named_parameters())
    for name, value in base.model.named_parameters():
        if name not in found:
            adapter = hasattr(other.model, "peft_config")
            why = (
                "merge its adapter first (`installed.merge()`)" if adapter else "take checkpoints of one size"
            )
            raise ModelError(
                f"{name!r} of shape {tuple(value.shape)} in {base.name!r} is no weight of {other.name!r}, so "
                f"no line leads there; {why}"
            )
    return found


@torch.no_grad()
def _corners(base: Encoder, second: Mapping[str, Tensor], third: Mapping[str, Tensor]) -> np.ndarray:
    """Coordinates of the three models in their own plane, computed weight by weight, in float64."""
    squares = np.zeros(3)  # ‖b − a‖², ‖c − a‖², ⟨b − a, c − a⟩
    for name, start in base.model.named_parameters():
        ends = (end[name].to(start.device) for end in (second, third))
        u, v = ((end.double() - start.double()).flatten() for end in ends)
        squares += [float(u @ u), float(v @ v), float(u @ v)]
    across = np.sqrt(squares[0])
    along = squares[2] / across if across else 0.0
    up = squares[1] - along**2
    if not across or up <= 1e-12 * squares[1]:
        raise ModelError(
            f"the three models lie on one line from {base.name!r}, so no plane goes through them; take three "
            "that differ, or the path between two"
        )
    return np.array([[0.0, 0.0], [across, 0.0], [along, np.sqrt(up)]])
