"""Position embeddings for another resolution than the model was pretrained at."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tunescope.errors import ModelError
from tunescope.models.encoder import Encoder
from tunescope.models.modelmap import Tower, module_at


def interpolate(
    positions: Float[Tensor, "n d"], prefix: int, from_grid: tuple[int, int], to_grid: tuple[int, int]
) -> Float[Tensor, "m d"]:
    """Patch positions resampled from one grid to another, bicubic and antialiased; the prefix stays as it is.

    Args:
        positions: first `prefix` rows of special tokens, then the grid, row by row.
        prefix: how many rows have no place in the picture ([CLS]).
        from_grid: patches down and across now.
        to_grid: patches down and across wanted.

    Source: Dosovitskiy et al. 2021, §3.2; antialiased as in DINOv2 with registers.

    >>> constant = torch.ones(5, 1)
    >>> interpolate(constant, 1, (2, 2), (3, 4)).shape
    torch.Size([13, 1])
    """
    special, patches = positions[:prefix], positions[prefix:]
    if from_grid == to_grid:
        return positions.clone()
    square = patches.T.reshape(1, -1, *from_grid)
    wide = nn.functional.interpolate(square, size=to_grid, mode="bicubic", antialias=True)
    return torch.cat([special, wide.flatten(2)[0].T])


def resize(encoder: Encoder, image_size: int) -> None:
    """Let the vision tower take square images of `image_size` pixels, in place.

    Position embeddings, config, preprocessing and the map's grid change together. DINOv2 interpolates its
    positions in its own forward pass: there the weights and the config stay.

    Raises:
        ModelError: not a multiple of the patch size.
    """
    tower = encoder.map.tower("vision")
    patch = tower.patch_size
    assert patch is not None
    assert encoder.preprocess is not None
    if image_size < patch or image_size % patch:
        below = max(image_size // patch, 1) * patch
        raise ModelError(
            f"image_size {image_size}: expected a multiple of the patch size {patch}, "
            f"such as {below} or {below + patch}"
        )
    side = image_size // patch
    changed = replace(tower, grid=(side, side), image_size=image_size)
    if not tower.interpolates:
        _replace_positions(encoder.model, tower, changed)
    encoder.map = replace(encoder.map, towers=encoder.map.towers | {"vision": changed})
    encoder.preprocess = encoder.preprocess.at(image_size)


@torch.no_grad()
def _replace_positions(model: nn.Module, old: Tower, new: Tower) -> None:
    assert old.positions, "every vision tower has them"
    assert old.grid
    assert new.grid
    embeddings: Any = module_at(model, old.embeddings)
    name = old.positions.rsplit(".", 1)[-1]
    held = getattr(embeddings, name)
    lookup = isinstance(held, nn.Embedding)
    table = held.weight if lookup else held[0]
    wider = interpolate(table, len(table) - old.grid[0] * old.grid[1], old.grid, new.grid)
    if lookup:
        setattr(embeddings, name, nn.Embedding.from_pretrained(wider, freeze=not table.requires_grad))
        embeddings.position_ids = torch.arange(len(wider), device=wider.device)[None]
        embeddings.num_positions = len(wider)
    else:
        setattr(embeddings, name, nn.Parameter(wider[None], requires_grad=held.requires_grad))
    tower: Any = module_at(model, old.path)
    tower.config.image_size = new.image_size
    # each family keeps the size in its embeddings, in its patch embeddings, or in both, as a number or a pair
    for module in (embeddings, getattr(embeddings, "patch_embeddings", embeddings)):
        for field, value in (("image_size", new.image_size), ("num_patches", new.grid[0] * new.grid[1])):
            if hasattr(module, field):
                setattr(module, field, (value, value) if isinstance(getattr(module, field), tuple) else value)
