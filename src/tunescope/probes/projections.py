"""Which rows and columns of attention's projections are a head's own."""

from collections.abc import Iterator
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from tunescope.models.encoder import Encoder
from tunescope.models.modelmap import module_at
from tunescope.models.pooling import attention_pool

COMPONENTS = ("q", "k", "v", "o")


class Projection(NamedTuple):
    """Where one projection of one layer's attention is.

    Args:
        layer: from 0; an attention pooling head (SigLIP's vision tower) counts one past the last block.
        component: q, k, v or o.
        weight: name of the parameter that holds it, [out, in].
        third: which third of its rows, where one matrix makes queries, keys and values.
    """

    layer: int
    component: str
    weight: str
    third: int | None = None


def projections(encoder: Encoder, tower: str) -> Iterator[Projection]:
    """The four projections of every attention of a tower, layer by layer."""
    place = encoder.map.tower(tower)
    for layer, block in enumerate(place.blocks):
        for third, component in enumerate(COMPONENTS):
            if component != "o" and block.qkv is not None:
                yield Projection(layer, component, f"{block.qkv}.weight", third)
            else:
                yield Projection(layer, component, f"{getattr(block, component)}.weight")
    if place.pooler is not None:
        pool = attention_pool(encoder.model, place)
        inside = next(n for n, m in module_at(encoder.model, place.pooler).named_modules() if m is pool)
        path = f"{place.pooler}.{inside}".rstrip(".")
        for third, component in enumerate(COMPONENTS[:3]):
            yield Projection(len(place.blocks), component, f"{path}.in_proj_weight", third)
        yield Projection(len(place.blocks), "o", f"{path}.out_proj.weight")


def by_head(projection: Projection, weight: Float[Tensor, "out in"], heads: int) -> Float[Tensor, "heads n"]:
    """Every head's own part of a projection, flat: its rows of q, k and v, its columns of o.

    >>> import torch
    >>> weight = torch.arange(4.0).view(2, 2)
    >>> [by_head(Projection(0, component, ""), weight, 2).tolist() for component in "qo"]
    [[[0.0, 1.0], [2.0, 3.0]], [[0.0, 2.0], [1.0, 3.0]]]
    """
    if projection.third is not None:
        weight = weight.chunk(3)[projection.third]
    return (weight.T if projection.component == "o" else weight).reshape(heads, -1)
