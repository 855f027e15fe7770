"""What is computed once: training with and without the reuse of what no step changes.

Run it with `python benchmarks/prefix.py`; with and without take turns, so that a busy machine is fair to
both. The model is a ViT of width 192 with 6 blocks and 37 tokens. Prints samples per second of whole runs
with the recording, their ratio, and the ratio of the steps alone; medians of the rounds.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
from training import BATCH, CLASSES, made_up, save_model
from transformers.utils import logging

from tunescope.data.examples import Examples
from tunescope.methods.freeze import Freeze
from tunescope.methods.linear_probe import LinearProbe
from tunescope.methods.method import Method
from tunescope.models.heads import LinearHead
from tunescope.models.load import load
from tunescope.study.run import RunSpec
from tunescope.training.loop import train

WAYS: dict[str, Method] = {
    "linear probe": LinearProbe(),
    "freeze 5 of 6": Freeze(blocks=5),
    "freeze 3 of 6": Freeze(blocks=3),
}


class Speed(NamedTuple):
    """Samples per second: of a whole run, and from its first step to its last."""

    run: float
    steps: float


def speed(folder: Path, method: Method, data: Examples, epochs: int, reuse: bool) -> Speed:
    """One training of a freshly loaded model."""
    encoder = load(folder)
    torch.manual_seed(0)
    installed, head = method.install(encoder), LinearHead(encoder.feature_dim, CLASSES)
    value = {"model": "vit", "task": {"data": "noise"}, "adapt": method, "lr": 1e-4}
    spec = RunSpec.model_validate(value | {"train": {"epochs": epochs, "batch_size": BATCH}})
    val, ticks = made_up(1, "val"), [time.perf_counter()]
    train(
        encoder,
        installed,
        head,
        spec,
        data,
        val,
        on_step=lambda step, of: ticks.append(time.perf_counter()),
        reuse=reuse,
    )
    steps = len(ticks) - 2  # the first one may still be warming up
    return Speed(
        epochs * len(data) / (time.perf_counter() - ticks[0]), steps * BATCH / (ticks[-1] - ticks[1])
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=384)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    data = made_up(arguments.examples, "train")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(folder)
        speed(folder, Freeze(blocks=5), made_up(3 * BATCH, "train"), 1, True)  # what is allocated once
        for label, method in WAYS.items():
            pairs: list[tuple[Speed, Speed]] = []
            for _ in range(arguments.rounds):
                once, always = (
                    speed(folder, method, data, arguments.epochs, reuse) for reuse in (True, False)
                )
                pairs.append((once, always))
            runs = statistics.median(once.run / always.run for once, always in pairs)
            steps = statistics.median(once.steps / always.steps for once, always in pairs)
            once, always = (statistics.median(speeds[i].run for speeds in pairs) for i in (0, 1))
            print(
                f"{label:13}  once {once:5.0f}  every step {always:4.0f} samples/s   "
                f"run of {arguments.epochs} epochs {runs:.2f} times, a step {steps:.2f} times"
            )


if __name__ == "__main__":
    main()
