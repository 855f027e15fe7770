"""A task in small: noisy images of three colours, and runs on them."""

from typing import Any

import numpy as np

from tunescope.data.examples import Examples
from tunescope.study.run import RunSpec

COLOURS = np.array([[220, 40, 40], [40, 220, 40], [40, 40, 220]])
NAMES = ("red", "green", "blue")


def examples(count: int, split: str) -> Examples:
    """Noisy images of three colours."""
    generator = np.random.default_rng(len(split) + count)
    labels = np.arange(count, dtype=np.int64) % 3
    noise = generator.integers(-40, 36, (count, 32, 32, 3))
    images = (COLOURS[labels][:, None, None] + noise).clip(0, 255).astype(np.uint8)
    ids = tuple(f"{split} {i}" for i in range(count))
    return Examples(images, labels, ids, NAMES, ("a {} square.",), split)


TRAIN, VAL = examples(22, "train"), examples(9, "val")


def spec(
    adapt: Any, lr: float = 1e-3, seed: int = 0, objective: Any = "cross_entropy", penalties=(), **settings
) -> RunSpec:
    value = {"model": "tiny", "task": {"data": "colours"}, "adapt": adapt, "lr": lr, "seed": seed}
    settings = {"epochs": 2, "batch_size": 8} | settings
    return RunSpec.model_validate(value | {"objective": objective, "penalties": penalties, "train": settings})
