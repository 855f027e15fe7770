"""Random crop and flip of a batch of images, on the batch's device."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

DRAWS = 5  # uniform numbers that one example takes
AREA = (0.5, 1.0)  # share of the image that a crop keeps
RATIO = (3 / 4, 4 / 3)  # width over height of a crop


def crop_flip(pixels: Float[Tensor, "b c s s"], uniform: Float[Tensor, "b 5"]) -> Float[Tensor, "b c s s"]:
    """A random crop of each image, resized to the whole, and mirrored one time in two.

    The crop keeps a share of the area drawn from `AREA`, with an aspect ratio drawn evenly in its logarithm
    from `RATIO` (sides longer than the image are cut to it), at an even place; bilinear. Nothing outside the
    image is ever read, and an image's result does not depend on the others in its batch.

    Args:
        pixels: normalised images.
        uniform: numbers in [0, 1): area, ratio, left, top, flip.

    Source: Szegedy et al. 2015 (arXiv 1409.4842), section 6, with a gentler least area.

    >>> image = torch.arange(16.0).view(1, 1, 4, 4)
    >>> whole = torch.tensor([[1.0, 0.5, 0.0, 0.0, 0.9]])  # all of the area, square, not mirrored
    >>> torch.allclose(crop_flip(image, whole), image, atol=1e-5)
    True
    """
    area = AREA[0] + (AREA[1] - AREA[0]) * uniform[:, 0]
    low, high = (math.log(ratio) for ratio in RATIO)
    stretch = torch.exp(0.5 * (low + (high - low) * uniform[:, 1]))
    width = (area.sqrt() * stretch).clamp(max=1)
    height = (area.sqrt() / stretch).clamp(max=1)
    middle_x = (1 - width) * (2 * uniform[:, 2] - 1)
    middle_y = (1 - height) * (2 * uniform[:, 3] - 1)
    width = torch.where(uniform[:, 4] < 0.5, -width, width)
    size = pixels.shape[-1]
    # `affine_grid`'s grid, but element by element: its matrix product may round differently per batch size.
    steps = (2 * torch.arange(size, dtype=uniform.dtype, device=uniform.device) + 1) / size - 1
    x = (middle_x[:, None] + width[:, None] * steps)[:, None, :].expand(-1, size, -1)
    y = (middle_y[:, None] + height[:, None] * steps)[:, :, None].expand(-1, -1, size)
    grid = torch.stack([x, y], dim=-1).to(pixels.dtype)
    return grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
