"""Augmentation of pictures on white: so that the style of drawing matters less than what is drawn."""

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample

_ACROSS = [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]
SOBEL = torch.stack([torch.tensor([_ACROSS]), torch.tensor([_ACROSS]).transpose(1, 2)])


def _some(count: int, share: float) -> Tensor:
    return (torch.rand(count, 1, 1, 1) < share).float()


def _spread(count: int, low: float, high: float, channels: int = 1) -> Tensor:
    return torch.empty(count, channels, 1, 1).uniform_(low, high)


def move(ink: Tensor, mirrored: Tensor) -> Tensor:
    """Turn, scale, shear, shift, and mirror half of those that may be; outside is no ink.

    Args:
        ink: [b, 3, h, w] in 0…1, 0 on the ground.
        mirrored: [b], whether the mirror image is the same thing.
    """
    b = len(ink)
    turn, size = _spread(b, -0.3, 0.3).view(b), _spread(b, 0.85, 1.35).view(b)
    flip = torch.where((torch.rand(b) < 0.5) & mirrored, -1.0, 1.0)
    shear, shift = torch.empty(2, b).uniform_(-0.12, 0.12), torch.empty(2, b).uniform_(-0.15, 0.15)
    across = torch.stack([turn.cos() * size * flip, shear[0] - turn.sin() * size, shift[0]], 1)
    down = torch.stack([turn.sin() * size * flip, turn.cos() * size * (1 + shear[1]), shift[1]], 1)
    grid = affine_grid(torch.stack([across, down], 1), list(ink.shape), align_corners=False)
    return grid_sample(ink, grid, align_corners=False)


def augment(images: Tensor, mirrored: Tensor) -> Tensor:
    """uint8 [b, 3, h, w] → float in about 0…1, each picture changed in its own way.

    Moved; then its colours (channels swapped, grey, stronger or weaker, tinted); then its lines
    (outlines drawn over it, or nothing left but outlines); then the ground tinted.
    """
    b = len(images)
    x = move(1 - images.float() / 255, mirrored)
    grey = x.mean(1, keepdim=True)
    swapped = x.gather(1, torch.rand(b, 3).argsort(1)[:, :, None, None].expand_as(x))
    x = torch.lerp(x, swapped, _some(b, 0.15))
    x = torch.lerp(x, grey.expand_as(x), _some(b, 0.2))
    x = x * _spread(b, 0.6, 1.25) * _spread(b, 0.8, 1.2, channels=3)
    edge = conv2d(grey, SOBEL, padding=1).square().sum(1, keepdim=True).sqrt().mul(0.7).clamp(0, 1)
    x = torch.maximum(x, edge * _some(b, 0.25))
    x = torch.lerp(x, edge.expand_as(x), _some(b, 0.15)).clamp(0, 1)
    ground = _spread(b, 0, 0.4, channels=3) * _some(b, 0.3)
    return 1 - (x + ground * (1 - x))
