"""Encoders in float64 with eager attention, whose heads are taken out at the input of the projections."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from eager import eager_model

from tunescope.models.encoder import Encoder
from tunescope.models.modelmap import module_at

FAMILIES = [(family, "vision") for family in ("clip", "siglip", "vit", "dinov2", "dinov2_registers")] + [
    (family, "text")
    for family in ("clip", "siglip", "bert", "roberta", "distilbert", "deberta", "modernbert")
]
TEXTS = ("a cat", "some longer words", "ox", "tea time!", "b")


def inputs(tower: str, count: int = 5) -> np.ndarray:
    if tower == "text":
        return np.array(TEXTS[:count], dtype=object)
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def in_float64(encoder: Encoder) -> Encoder:
    """A copy that shares nothing with the seam."""
    ours = copy.copy(encoder)
    ours.model = eager_model(encoder)
    pixels = ours.pixels
    ours.pixels = lambda images: pixels(images).double()  # pyright: ignore[reportAttributeAccessIssue]
    return ours


@contextmanager
def changed(
    encoder: Encoder, tower: str, layer: int, change: Callable[[torch.Tensor], torch.Tensor]
) -> Iterator[None]:
    """Let the output projection of one block read `change` of its input "b n h d"."""
    place = encoder.map.tower(tower)

    def before(module: torch.nn.Module, args: tuple) -> tuple:
        return (change(args[0].unflatten(-1, (place.heads, -1))).flatten(-2),)

    handle = module_at(encoder.model, place.blocks[layer].o).register_forward_pre_hook(before)
    try:
        yield
    finally:
        handle.remove()


def head_outputs(encoder: Encoder, tower: str, batch: np.ndarray) -> list[torch.Tensor]:
    """What enters the output projection of every block, "b n h d"."""
    found: list[torch.Tensor] = []

    def keep(x: torch.Tensor) -> torch.Tensor:
        found.append(x)
        return x

    for layer in range(len(encoder.map.tower(tower).blocks)):
        with changed(encoder, tower, layer, keep), torch.no_grad():
            encoder.features(batch)
    return found


def means_by_loops(encoder: Encoder, tower: str, batch: np.ndarray) -> list[torch.Tensor]:
    """Per block "n h d", of images; of texts "1 h d", over real tokens."""
    outputs = head_outputs(encoder, tower, batch)
    if tower == "vision":
        return [sum(x[i] for i in range(len(x))) / len(x) for x in outputs]  # pyright: ignore
    tokens = encoder.tokens(batch.tolist())
    means = []
    for x in outputs:
        rows = []
        for i, ids in enumerate(tokens["input_ids"].tolist()):
            mask = tokens["attention_mask"][i].tolist() if "attention_mask" in tokens else [1] * len(ids)
            if encoder.map.tower(tower).pooling == "eos":
                eos = encoder.model.config.text_config.eos_token_id
                mask = [int(j <= ids.index(eos)) for j in range(len(ids))]
            rows += [x[i, j] for j, seen in enumerate(mask) if seen]
        means.append(torch.stack(rows).mean(0, keepdim=True))
    return means


def replaced(head: int, value: torch.Tensor | float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[:, :, head] = value
        return x

    return change
