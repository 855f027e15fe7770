import math

import numpy as np
import pytest
import torch

from tunescope.training.augment import crop_flip
from tunescope.training.order import draws


def bilinear(image: np.ndarray, x: float, y: float) -> float:
    """The image at a point, in pixels from the centre of pixel (0, 0); past the outer centres, the edge."""
    size = image.shape[-1]
    assert min(x, y) >= -0.5 - 1e-6
    assert max(x, y) <= size - 0.5 + 1e-6
    x, y = min(max(x, 0.0), size - 1.0), min(max(y, 0.0), size - 1.0)
    left, top = math.floor(x), math.floor(y)
    right, bottom = min(left + 1, size - 1), min(top + 1, size - 1)
    upper = image[top, left] * (left + 1 - x) + image[top, right] * (x - left)
    lower = image[bottom, left] * (left + 1 - x) + image[bottom, right] * (x - left)
    return upper * (top + 1 - y) + lower * (y - top)


def reference(image: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Crop a box, in pixels, and read it at evenly spaced points."""
    size = image.shape[-1]
    area = 0.5 + 0.5 * uniform[0]
    ratio = (3 / 4) * ((4 / 3) / (3 / 4)) ** uniform[1]
    width, height = min(math.sqrt(area * ratio), 1) * size, min(math.sqrt(area / ratio), 1) * size
    left, top = (size - width) * uniform[2], (size - height) * uniform[3]
    out = np.empty_like(image)
    for i in range(size):
        for j in range(size):
            column = size - 1 - j if uniform[4] < 0.5 else j
            x, y = left + (column + 0.5) / size * width - 0.5, top + (i + 0.5) / size * height - 0.5
            out[i, j] = bilinear(image, x, y)
    return out


def test_against_pixel_by_pixel_arithmetic():
    uniform = np.concatenate([draws(0, 0, 6, 5), [[1, 1, 1, 1, 0.9], [0, 0, 0, 0, 0]]])
    images = np.random.default_rng(0).normal(size=(len(uniform), 1, 8, 8))
    found = crop_flip(torch.tensor(images), torch.tensor(uniform)).numpy()
    for image, numbers, ours in zip(images, uniform, found, strict=True):
        np.testing.assert_allclose(ours[0], reference(image[0], numbers), atol=1e-10)


def test_an_image_does_not_depend_on_its_batch():
    uniform = torch.tensor(draws(0, 0, 5, 5), dtype=torch.float32)
    images = torch.randn(5, 3, 48, 48)
    together = crop_flip(images, uniform)
    for i in range(5):
        assert torch.equal(crop_flip(images[i : i + 1], uniform[i : i + 1])[0], together[i])


@pytest.mark.parametrize("size", [8, 48])
def test_nothing_is_made_up(size):
    images = torch.full((20, 1, size, size), 0.7)
    torch.testing.assert_close(crop_flip(images, torch.rand(20, 5)), images)
