"""A study of a tiny model on a folder of images, whose runs take about a second each."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (220, 40, 40), "green": (40, 220, 40), "blue": (40, 40, 220)}


def images(folder: Path, each: int = 14) -> Path:
    """Noisy images of three colours, a subfolder for each."""
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for index in range(each):
            pixels = (np.array(colour) + generator.integers(-40, 36, (32, 32, 3))).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index}.png")
    return folder


def study(
    model: Path, data: Path, runs: str, engine: str = "{}", train: str = "{epochs: 2, batch_size: 8}"
) -> str:
    """The study's file.

    Args:
        model: a saved model.
        data: a folder of images.
        runs: what stands under `runs:`, in YAML's flow style.
        engine: likewise, under `engine:`.
        train: likewise, under `train:`.
    """
    return (
        f"study: tiny\nmodel: {model}\ntask: {{data: 'folder:{data}'}}\ntrain: {train}\nprobes: [transfer]\n"
        f"engine: {engine}\nruns: {runs}\n"
    )
