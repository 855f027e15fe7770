"""One head taken out: its output is zero, or what it is on average, whatever the input."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from tunescope.errors import ModelError
from tunescope.models.pooling import Read, reading
from tunescope.models.tap import Call, attention_modules, listening

if TYPE_CHECKING:
    from tunescope.models.encoder import Encoder

Means = Float[Tensor, "l #n h d"]


@contextmanager
def ablated(
    encoder: "Encoder", tower: str, layer: int, head: int, means: Means | None = None
) -> Iterator[None]:
    """Put a constant in the place of one head's output, before the output projection.

    Args:
        encoder: a loaded encoder.
        tower: `vision` or `text`.
        layer: of which block, from 0.
        head: which of its heads, from 0.
        means: the constants, as `head_means` gives them; None is zero, the same as a gate of 0.

    Raises:
        ModelError: the tower has no such head.
    """
    place = encoder.map.tower(tower)
    if not (0 <= layer < len(place.blocks) and 0 <= head < place.heads):
        raise ModelError(
            f"no head {head} of layer {layer} in the {tower} tower; expected layers 0 to "
            f"{len(place.blocks) - 1} and heads 0 to {place.heads - 1}"
        )

    def replace(call: Call, output: Float[Tensor, "b n h d"]) -> Float[Tensor, "b n h d"]:
        output = output.clone()
        output[:, :, head] = 0 if means is None else means[layer, :, head].to(output.dtype)
        return output

    with listening([(attention_modules(encoder.model, place)[layer], replace)]):
        yield


@torch.no_grad()
def head_means(encoder: "Encoder", tower: str, batches: Iterable[Shaped[np.ndarray, "_ ..."]]) -> Means:
    """The mean output of every head, before the output projection, nothing being taken out.

    For images the mean over examples at each token position (prefix tokens, then patches); for texts, whose
    positions mean little and whose lengths differ, one mean over all real tokens of all texts, the prompts of
    prompt tuning among them. Sums are float64.

    Args:
        encoder: a loaded encoder, in evaluation mode.
        tower: `vision` or `text`.
        batches: its inputs.

    Returns:
        "l n h d" for images, "l 1 h d" for texts, float32 or what the model computes in, if that is wider.
    """
    place = encoder.map.tower(tower)
    totals: dict[int, Tensor] = {}
    count = 0.0
    read = Read()

    def add(layer: int, call: Call, output: Float[Tensor, "b n h d"]) -> Tensor:
        nonlocal count
        wide = output.double()
        if place.grid is None:
            real = read.real_in_blocks(output.shape[1])
            wide, seen = wide[real].sum(0, keepdim=True), int(real.sum())
        else:
            wide, seen = wide.sum(0), len(output)
        totals[layer] = totals.get(layer, 0) + wide
        count += seen if layer == 0 else 0
        return output

    modules = attention_modules(encoder.model, place)
    dtype = torch.float32
    for inputs in batches:
        with (
            reading(encoder.model, place, read),
            listening([(module, partial(add, i)) for i, module in enumerate(modules)]),
        ):
            dtype = torch.promote_types(encoder.features(inputs).dtype, dtype)
    return torch.stack([totals[layer] for layer in range(len(modules))]).div(count).to(dtype)
