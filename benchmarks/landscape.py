"""The path between two models, against plain evaluations; and sharpness layer by layer, from what enters each
block on, against whole forward passes.

Run: python benchmarks/landscape.py [--batch 16] [--rounds 3] [--draws 1] [--small 1]

A random ViT of 12 layers (hidden 384, 65 tokens). Both ways take each round in turn, so that whatever else
the machine does falls on both. Printed: how many times faster (median over rounds, processor seconds) and the
largest difference; of average-case and of worst-case sharpness, block by block. Of the path of 21 α: how many
plain evaluations of the tuned model a point costs, both taken in turn, and the peak memory while it walks
beyond that of a plain evaluation, both models being there for each (Linux).
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from heads import CLASSES, SIZE, encoder
from torch import nn

from tunescope.data.examples import Examples
from tunescope.landscape.batch import Batch
from tunescope.landscape.between import outcomes
from tunescope.landscape.curve import alphas
from tunescope.landscape.evaluate import evaluate
from tunescope.landscape.on_top import OnTop
from tunescope.landscape.perturb import weights_below
from tunescope.landscape.plain import Walk
from tunescope.landscape.sharpness import Ask, Found, measured, of_blocks
from tunescope.models.encoder import Encoder
from tunescope.models.heads import LinearHead


def by_whole_forwards(ours: Encoder, batch: Batch, ask: Ask) -> list[Found]:
    """Every block's sharpness, each evaluation a forward pass from the pixels up."""
    paths = [block.path for block in ours.map.tower("vision").blocks]
    return [measured(weights_below(ours.model, [path]), batch, batch.features, ask) for path in paths]


def by_suffixes(ours: Encoder, batch: Batch, ask: Ask) -> list[Found]:
    """The same from what enters the block on."""
    return [part.measure() for part in of_blocks(ours, "vision", batch, ask)]


def compare(label: str, ours: Encoder, size: int, ask: Ask, rounds: int) -> None:
    """Print how much faster the second way is."""
    torch.manual_seed(1)
    head = LinearHead(ours.feature_dim, CLASSES)
    nn.init.normal_(head.linear.weight)
    ours.model.requires_grad_(False)
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {"whole": [], "suffix": []}
    apart = 0.0
    for _ in range(rounds):
        images = rng.integers(0, 256, (size, SIZE, SIZE, 3), dtype=np.uint8)
        batch = Batch(ours, images, np.arange(size) % CLASSES, [head])
        found: dict[str, list[Found]] = {}
        ways: dict[str, Callable[[Encoder, Batch, Ask], list[Found]]]
        ways = {"whole": by_whole_forwards, "suffix": by_suffixes}
        for name, way in ways.items():
            start = time.process_time()
            found[name] = way(ours, batch, ask)
            times[name].append(time.process_time() - start)
        for one, other in zip(*found.values(), strict=True):
            apart = max(apart, *(float(np.abs(one[kind] - other[kind]).max()) for kind in one))
    ratio = median(a / b for a, b in zip(times["whole"], times["suffix"], strict=True))
    print(f"{label}: {ratio:.2f}× faster, largest difference {apart:.1e}", flush=True)


def path(base: Encoder, tuned: Encoder, size: int, batch: int) -> None:
    """Print what 21 points of a path cost beside 21 plain evaluations."""
    head = LinearHead(base.feature_dim, CLASSES)
    images = np.random.default_rng(0).integers(0, 256, (size, SIZE, SIZE, 3), dtype=np.uint8)
    labels = np.arange(size) % CLASSES
    names = tuple(map(str, range(CLASSES)))
    part = Examples(images, labels, tuple(map(str, labels)), names, (), "val")
    model = sum(p.nbytes for p in base.model.parameters())
    rounds: list[tuple[float, float]] = []
    peaks: list[tuple[int, int]] = []
    with Walk(base, dict(tuned.model.named_parameters())) as walk:
        heads = OnTop(walk, head)
        evaluate(tuned, part, {"trained": head}, batch)
        for alpha in alphas(21).tolist():
            ways = (
                lambda: evaluate(tuned, part, {"trained": head}, batch),
                lambda alpha=alpha: outcomes(walk, heads, alpha, {"val": part}, batch),
            )
            taken, peak = zip(*(watched(way) for way in ways), strict=True)
            rounds.append(taken)
            peaks.append(peak)
    plain, walked = (sum(each) for each in zip(*rounds, strict=True))
    most = [max(each) for each in zip(*peaks, strict=True)]
    print(
        f"path of 21 points: {walked / plain:.3f} × 21 plain evaluations ({size} examples by {batch}); peak "
        f"memory both models, {(most[1] - most[0]) / model:+.2f} of one, and the activations",
        flush=True,
    )


def watched(way: Callable[[], object]) -> tuple[float, int]:
    """Processor seconds, and the process's largest resident memory meanwhile, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    start = time.process_time()
    way()
    taken = time.process_time() - start
    status = Path("/proc/self/status").read_text()
    return taken, 1024 * int(status.split("VmHWM:")[1].split()[0])


def main() -> None:
    """All of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--small", type=int, default=0)
    said = parser.parse_args()
    width = 96 if said.small else 384
    ours, other = encoder("vit", 12, width, 12), encoder("vit", 12, width, 12)
    with torch.no_grad():
        for weight in other.model.parameters():
            weight.add_(0.01 * torch.randn_like(weight))
    path(ours, other, 2 * said.batch, said.batch)
    compare("average case", ours, said.batch, Ask({"average": (0.1,)}, draws=said.draws), said.rounds)
    compare("worst case", ours, said.batch, Ask({"linf": (1e-3,)}, steps=2), said.rounds)


if __name__ == "__main__":
    main()
