"""How sharp a model's loss is in its weights: all of a tower's, those of each block, of each role."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tunescope.landscape.average_case import average_case
from tunescope.landscape.batch import Batch, Slopes
from tunescope.landscape.hessian import top_eigenvalue, trace
from tunescope.landscape.perturb import Weights, tower_weights, tracked, weights_below
from tunescope.landscape.suffix import Features, suffixes
from tunescope.landscape.worst_case import Norm, worst_case
from tunescope.models.encoder import Encoder
from tunescope.models.modelmap import ROLES, SHORT_ROLES

PLAIN, ADAPTIVE = "_plain", "_adaptive"
Found = dict[str, Float[np.ndarray, "..."]]  # by kind


@dataclass(frozen=True)
class Ask:
    """What is measured of some weights.

    Args:
        radii: by kind, ρ in ascending order: `average`, `linf`, `l2`, adaptive, and the same with `_plain`.
        hessian: of `hessian_top` and `hessian_trace`, plain, and the same with `_adaptive`.
        draws: random ones, of `average` and `hessian_trace`.
        steps: of Auto-PGD.
        seed: of all draws.
    """

    radii: Mapping[str, tuple[float, ...]]
    hessian: tuple[str, ...] = ()
    draws: int = 8
    steps: int = 20
    seed: int = 0

    @property
    def climbs(self) -> bool:
        """Whether anything worst-case is asked for."""
        return any(not kind.startswith("average") for kind in self.radii)


class Part(NamedTuple):
    """Some weights of one block.

    Args:
        layer: the block.
        role: which of its matrices or norms; None is the whole block.
        measure: sharpness in them, by kind; call it, or not, before the next part is asked for.
    """

    layer: int
    role: str | None
    measure: Callable[[], Found]


def of_tower(encoder: Encoder, tower: str, batch: Batch, ask: Ask) -> Found:
    """Sharpness in all of a tower's weights at once; `measured` says what of which shape."""
    weights = tower_weights(encoder.model, encoder.map.tower(tower))
    return _alone(encoder, partial(measured, weights, batch, batch.features, ask))


def of_blocks(
    encoder: Encoder, tower: str, batch: Batch, ask: Ask, roles: Sequence[str] = ()
) -> Iterator[Part]:
    """Sharpness in the weights of each block alone, then of each of its roles, from the input up.

    What enters a block is computed once, and only what follows is computed again, of the last block the one
    token that is read: equal to whole forward passes within 1e-5. Nothing but a block's own
    weights is copied; where anything worst-case is asked for, the first gradients of all blocks are held, one
    set for each head. A role that a block has not (`norm1` of ModernBERT's first) is left out.

    Args:
        encoder: plain, in evaluation mode.
        tower: of it.
        batch: of examples.
        ask: what is measured.
        roles: such as `attention.q`, or `q` for short.
    """
    place = encoder.map.tower(tower)
    below = weights_below(encoder.model, [block.path for block in place.blocks])
    slopes = Slopes(batch, below) if ask.climbs else None
    entering = suffixes(encoder.model, place, batch.features, one_token=True)
    for layer, (block, features) in enumerate(zip(place.blocks, entering, strict=True)):
        named = {role: SHORT_ROLES.get(role, role) for role in roles}
        paths = {None: block.path} | {full: getattr(block, ROLES[full]) for full in named.values()}
        for role, path in paths.items():
            if path is not None:
                weights = weights_below(encoder.model, [path])
                measure = partial(measured, weights, batch, features, ask, slopes)
                yield Part(layer, role, partial(_alone, encoder, measure))


def _alone(encoder: Encoder, measure: Callable[[], Found]) -> Found:
    """Measure while gradients reach no weights but those that ask for them there."""
    with tracked(encoder.model.parameters(), on=False):
        return measure()


def measured(
    weights: Weights, batch: Batch, features: Features, ask: Ask, slopes: Slopes | None = None
) -> Found:
    """Every kind that is asked for, of one batch in some weights.

    Args:
        weights: which are moved and put back.
        batch: gives the losses.
        features: of the batch, as far as they depend on those weights.
        ask: what is measured.
        slopes: the first gradients, where they are shared.

    Returns:
        `average…` [k, radii, draws], `linf…` and `l2…` [k, radii], `hessian_top…` [k], `hessian_trace…`
        [k, draws], of k heads.
    """
    found: Found = {}
    each = [partial(batch.loss, features, head) for head in range(batch.heads)]
    draw = {"draws": ask.draws, "seed": ask.seed}
    for kind, radii in ask.radii.items():
        adaptive = not kind.endswith(PLAIN)
        if kind.startswith("average"):
            pairs = average_case(weights, partial(batch.losses, features), radii, adaptive=adaptive, **draw)
            found[kind] = np.moveaxis(pairs, -1, 0)
            continue
        norm: Norm = "linf" if kind.startswith("linf") else "l2"
        options = {"steps": ask.steps, "adaptive": adaptive, "seed": ask.seed}
        rises = np.empty((len(each), len(radii)))
        for head, loss in enumerate(each):
            first = None if slopes is None else slopes.of(head, weights)
            worst = worst_case(weights, loss, radii, norm, first=first, **options)
            rises[head] = [one.increase for one in worst]
        found[kind] = rises
    for kind in ask.hessian:
        adaptive = kind.endswith(ADAPTIVE)
        if kind.startswith("hessian_top"):
            tops = [top_eigenvalue(weights, loss, adaptive=adaptive, seed=ask.seed) for loss in each]
            found[kind] = np.array(tops)
        else:
            found[kind] = np.stack([trace(weights, loss, adaptive=adaptive, **draw) for loss in each])
    return found


class Summary(NamedTuple):
    """Sharpness over batches: the mean, and how far what it is the mean of is spread.

    Args:
        value: under each head, at each radius (one, where there are no radii).
        std: over draws where there are draws, else over batches; None of a single one.
        n: number of those.
    """

    value: Float[np.ndarray, "k radii"]
    std: Float[np.ndarray, "k radii"] | None
    n: int


def summary(kind: str, found: Sequence[Float[np.ndarray, "..."]], sizes: Sequence[int]) -> Summary:
    """What `measured` gave of one kind for every batch, as one: batches count by their number of examples.

    >>> of_linf = [np.array([[1.0, 2.0]]), np.array([[4.0, 5.0]])]
    >>> summary("linf", of_linf, [64, 128])
    Summary(value=array([[3., 4.]]), std=array([[2.12132034, 2.12132034]]), n=2)
    """
    each = np.stack(found)
    if kind.startswith("hessian"):
        each = each[:, :, None]  # as if at one radius
    if kind.startswith(("average", "hessian_trace")):
        draws = np.average(each, axis=0, weights=sizes)
        spread = draws.std(-1, ddof=1) if draws.shape[-1] > 1 else None
        return Summary(draws.mean(-1), spread, draws.shape[-1])
    spread = each.std(0, ddof=1) if len(each) > 1 else None
    return Summary(np.average(each, axis=0, weights=sizes), spread, len(each))
