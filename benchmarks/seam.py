"""What looking costs: plain SDPA, the seam's rows with every statistic, eager `output_attentions`.

Run: python benchmarks/seam.py [--tokens 50 197] [--batch 8] [--rounds 5]

The vision tower is CLIP-like with random weights (12 layers, 6 heads, hidden 384). All ways take turns
within every round, so that whatever else the machine does falls on all of them; ratios are to plain SDPA of
the same round: their median, and their range.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from tunescope.models import rows as on
from tunescope.models.encoder import Encoder
from tunescope.models.families.clip import build
from tunescope.models.preprocess import Preprocess
from tunescope.models.seam import BlockRows, install, watch

GRIDS = {50: 7, 197: 14, 577: 24}  # tokens → patches a side
PATCH = 16


def encoder(side: int) -> Encoder:
    """A random CLIP vision tower with `side`² patches."""
    config = CLIPVisionConfig(
        hidden_size=384,
        intermediate_size=1536,
        num_hidden_layers=12,
        num_attention_heads=6,
        image_size=side * PATCH,
        patch_size=PATCH,
    )
    torch.manual_seed(0)
    model = CLIPVisionModel(config).eval()
    modelmap = build(model)
    install(model, modelmap)
    size, half = side * PATCH, (0.5, 0.5, 0.5)
    images = Preprocess(size, resize="stretch", crop=False, edge=size, resample=3, mean=half, std=half)
    return Encoder("random", model, modelmap, images)


def statistics(logits: torch.Tensor, norms: torch.Tensor) -> None:
    """Everything that the attention probe takes from the pooling token's rows."""
    kept, _ = on.patches_of_logits(logits, 1)
    on.entropy(kept)
    on.entropy_normalised(kept)
    on.concentration(kept)
    on.head_diversity(kept)
    on.value_weighted_entropy(kept, norms[..., 1:])


def ways(ours: Encoder, pixels: torch.Tensor) -> dict[str, Callable[[], object]]:
    """The ways to look, by name."""
    model = ours.model
    place = ours.map.tower("vision")
    assert place.grid is not None
    grid = place.grid

    def under(implementation: str, **options) -> Callable[[], object]:
        def forward():
            model.set_attn_implementation(implementation)
            return model(pixel_values=pixels, **options)

        return forward

    def seam() -> None:
        model.set_attn_implementation("tunescope")
        with watch(ours, "vision", values=True) as seen:
            model(pixel_values=pixels)
        statistics(seen.logits, seen.value_norms)

    def distances() -> None:
        model.set_attn_implementation("tunescope")
        with watch(ours, "vision", "all", reduce=reach):
            model(pixel_values=pixels)

    def reach(block: BlockRows) -> torch.Tensor:
        return on.distance(block.logits[:, :, 1:, 1:].softmax(-1), grid, PATCH).mean(-1)

    return {
        "plain SDPA": under("sdpa"),
        "seam installed, nothing watched": under("tunescope"),
        "seam, pooled row, every statistic": seam,
        "seam, all rows, distance": distances,
        "eager, output_attentions": under("eager", output_attentions=True),
    }


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, nargs="+", choices=sorted(GRIDS), default=[50, 197])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), batch {arguments.batch}")
    for tokens in arguments.tokens:
        side = GRIDS[tokens]
        ours = encoder(side)
        candidates = ways(ours, torch.randn(arguments.batch, 3, side * PATCH, side * PATCH))
        times: dict[str, list[float]] = {name: [] for name in candidates}
        with torch.no_grad():
            for turn in range(arguments.rounds + 1):
                for name, way in candidates.items():
                    start = time.perf_counter()
                    way()
                    if turn:  # the first round warms up
                        times[name].append(time.perf_counter() - start)
        plain = times["plain SDPA"]
        for name, each in times.items():
            ratios = sorted(a / b for a, b in zip(each, plain, strict=True))
            spread = f"{median(ratios):.3f}× ({ratios[0]:.3f}–{ratios[-1]:.3f})"
            print(f"{tokens:4d} tokens  {name:34s} {1e3 * median(each):8.1f} ms  {spread}")


if __name__ == "__main__":
    main()
