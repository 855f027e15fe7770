"""Taking out every head in turn: exact, faster than the loop over gates, and what bfloat16 does to the ranks.

Run: python benchmarks/heads.py [--batch 8] [--batches 2] [--small 1] [--clock wall]

A random ViT of 12 layers and 12 heads (hidden 384, 65 tokens), then models of other families of 8 layers and
8 heads (hidden 256): where arithmetic outweighs what a call costs. All ways take each batch in turn, so that
whatever else the machine does falls on all of them. Printed: how many times faster than the loop over gates
(median over batches), the largest difference of a feature, Kendall's τ of the heads' importance; then what
the gradients of all gates of all examples cost, in plain batch gradients.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    DebertaV2Config,
    DebertaV2Model,
    Dinov2Config,
    Dinov2Model,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)
from transformers.utils import logging

from tunescope.models.encoder import Encoder
from tunescope.models.families import bert, clip, deberta_v2, dinov2, siglip, vit
from tunescope.models.heads import LinearHead
from tunescope.models.leave_one_out import LeaveOneOut
from tunescope.models.preprocess import Preprocess
from tunescope.models.seam import gate, install
from tunescope.probes.agreement import kendall
from tunescope.probes.gate_gradients import gate_gradients

SIZE, PATCH, CLASSES = 64, 8, 10
SMALL = (8, 256, 8)  # layers, hidden, heads
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def encoder(family: str, layers: int, hidden: int, heads: int) -> Encoder:
    """A random vision tower of 64 patches."""
    size: dict[str, Any] = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    vision: dict[str, Any] = size | {"image_size": SIZE, "patch_size": PATCH}
    mlp: dict[str, Any] = {"intermediate_size": 4 * hidden}
    torch.manual_seed(0)
    model, build = {
        "vit": lambda: (ViTModel(ViTConfig(**vision, **mlp), add_pooling_layer=False), vit.build),
        "clip": lambda: (CLIPVisionModel(CLIPVisionConfig(**vision, **mlp)), clip.build),
        "siglip": lambda: (SiglipVisionModel(SiglipVisionConfig(**vision, **mlp)), siglip.build),
        "dinov2": lambda: (Dinov2Model(Dinov2Config(**vision)), dinov2.build),
    }[family]()
    model.eval()
    modelmap = build(model)
    install(model, modelmap)
    half = (0.5, 0.5, 0.5)
    images = Preprocess(SIZE, resize="stretch", crop=False, edge=SIZE, resample=3, mean=half, std=half)
    return Encoder("random", model, modelmap, images)


def texts(family: str, layers: int, hidden: int, heads: int) -> Encoder:
    """A random text encoder whose tokens are letters."""
    size: dict[str, Any] = {"num_hidden_layers": layers, "num_attention_heads": heads}
    size |= {"hidden_size": hidden, "intermediate_size": 4 * hidden}
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)})
    size |= {"vocab_size": len(pieces), "max_position_embeddings": 80, "pad_token_id": 0}
    torch.manual_seed(0)
    if family == "bert":
        model = BertModel(BertConfig(**size), add_pooling_layer=False)
        modelmap = bert.build(model)
    else:
        v3 = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 32}
        v3 |= {"share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False}
        model = DebertaV2Model(DebertaV2Config(**size, **v3))
        modelmap = deberta_v2.build(model)
    model.eval()
    install(model, modelmap)
    return Encoder("random", model, modelmap, None, tokenizer)


def by_gates(ours: Encoder, tower: str, inputs: np.ndarray) -> Tensor:
    """The features with all heads, then without each, by gates."""
    place = ours.map.tower(tower)
    with torch.no_grad():
        found = [ours.features(inputs)]
        for layer in range(len(place.blocks)):
            for head in range(place.heads):
                gates = torch.ones(len(place.blocks), place.heads)
                gates[layer, head] = 0
                with gate(ours, tower, gates):
                    found.append(ours.features(inputs))
    return torch.stack(found)


def by_replay(ours: Encoder, tower: str, inputs: np.ndarray, shared: bool, half: bool = False) -> Tensor:
    """The same by `LeaveOneOut`."""
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        run = LeaveOneOut(ours, tower, inputs, shared=shared)
        found = [
            features for layer in range(len(ours.map.tower(tower).blocks)) for features in run.without(layer)
        ]
        return torch.stack([run.whole, *found]).float()


def compare(label: str, ours: Encoder, batches: list[np.ndarray], clock: Callable[[], float]) -> None:
    """Print how much faster each way is than the loop over gates."""
    tower = next(iter(ours.map.towers))
    torch.manual_seed(1)
    head = LinearHead(ours.feature_dim, CLASSES)
    nn.init.normal_(head.linear.weight)
    ways: dict[str, Callable[[np.ndarray], Tensor]] = {
        "gates": lambda batch: by_gates(ours, tower, batch),
        "replayed": lambda batch: by_replay(ours, tower, batch, False),
        "shared": lambda batch: by_replay(ours, tower, batch, True),
        "bfloat16": lambda batch: by_replay(ours, tower, batch, True, True),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, list[Tensor]] = {name: [] for name in ways}
    for batch in batches:
        for name, way in ways.items():
            start = clock()
            found[name].append(way(batch))
            times[name].append(clock() - start)
    exact = torch.cat(found["gates"], 1)
    labels = torch.arange(exact.shape[1]) % CLASSES
    ranks = importance(head, exact, labels)
    print(f"{label}: {exact.shape[1]} examples, gates {sum(times['gates']):.2f} s")
    for name in ("replayed", "shared", "bfloat16"):
        other = torch.cat(found[name], 1)
        ratio = median(a / b for a, b in zip(times["gates"], times[name], strict=True))
        apart = float((other - exact).abs().max())
        tau = kendall(ranks, importance(head, other, labels))
        print(f"    {name:9s} {ratio:5.2f}×   largest difference {apart:.1e}   Kendall {tau:.3f}", flush=True)


def importance(head: nn.Module, features: Tensor, labels: Tensor) -> np.ndarray:
    """Mean loss without each head less that with all."""
    with torch.no_grad():
        each = [nn.functional.cross_entropy(head(rows).double(), labels) for rows in features]
    return (torch.stack(each)[1:] - each[0]).numpy()


def gradients(ours: Encoder, batch: np.ndarray, clock: Callable[[], float], rounds: int = 7) -> None:
    """Print what all gate gradients of all examples cost."""
    head = LinearHead(ours.feature_dim, CLASSES)
    nn.init.normal_(head.linear.weight)
    labels = torch.arange(len(batch)) % CLASSES

    def losses(features: Tensor) -> Tensor:
        return nn.functional.cross_entropy(head(features), labels, reduction="none")[None]

    def plain() -> None:
        losses(ours.features(batch)).sum().backward()
        ours.model.zero_grad()

    def gates() -> None:
        gate_gradients(ours, "vision", batch, losses)

    ratios = []
    for turn in range(rounds + 1):
        took = []
        for way in (plain, gates):
            start = clock()
            way()
            took.append(clock() - start)
        if turn:  # the first round warms up
            ratios.append(took[1] / took[0])
    print(f"all gate gradients of {len(batch)} examples: {median(ratios):.2f} plain batch gradients")


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8, help="examples in a batch of the large model")
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--small", type=int, default=1, help="batches of 16 for each small model")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: beside other work, on one thread"
    )
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (512, SIZE, SIZE, 3), dtype=np.uint8)
    ours = encoder("vit", 12, 384, 12)
    clock = CLOCKS[arguments.clock]
    gradients(ours, images[: arguments.batch], clock)
    batches = np.split(images, 512 // arguments.batch)[: arguments.batches]
    compare("vit, 12 × 12, hidden 384", ours, batches, clock)
    layers, hidden, heads = SMALL
    size = f"{layers} × {heads}, hidden {hidden}"
    some = np.split(images, 32)[: arguments.small]
    for family in ("clip", "siglip", "dinov2"):
        compare(f"{family}, {size}", encoder(family, *SMALL), some, clock)
    letters = np.array([*"abcdefghijklmnopqrstuvwxyz"])
    words = ["".join(rng.choice(letters, 62)) for _ in range(16 * arguments.small)]
    said = np.split(np.array(words, dtype=object), arguments.small)
    for family in ("bert", "deberta-v2"):
        compare(f"{family}, {size}", texts(family, *SMALL), said, clock)


if __name__ == "__main__":
    main()
