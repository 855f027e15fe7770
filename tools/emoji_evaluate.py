"""Zero-shot accuracy of `emoji-clip` per style and per part of the emoji, through plain transformers."""

from pathlib import Path

import pyarrow.parquet as pq
import torch
from emoji_corpus import decode, prompt
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

ALL_STYLES = ("noto", "twemoji", "fluent-3d", "fluent-flat", "openmoji", "openmoji-line")
Metrics = dict[str, dict[str, dict[str, float]]]


def features(found: object) -> Tensor:
    """The projected features as unit rows; transformers 5 wraps them in an output object."""
    return normalize(getattr(found, "pooler_output", found), dim=-1)


@torch.inference_mode()
def evaluate(model: Path, data: Path, parts: tuple[str, ...]) -> Metrics:
    """Measure a saved model; returns style → part → accuracies in %, their chance, and n.

    An emoji of the training part is named among the names of all training emoji; a held-out one
    among the names of all held-out emoji, val and test together.

    Args:
        model: folder that transformers loads.
        data: folder with the Parquet files of `make_emoji_data.py`.
        parts: of "train", "val" and "test".
    """
    clip, tokenizer = CLIPModel.from_pretrained(model).eval(), AutoTokenizer.from_pretrained(model)
    processor = AutoImageProcessor.from_pretrained(model)
    concepts = {c["codepoints"]: c for c in pq.read_table(data / "concepts.parquet").to_pylist()}

    def head(texts: list[str]) -> Tensor:
        tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        return features(clip.get_text_features(**tokens))

    labels = {label: sorted({c[label] for c in concepts.values()}) for label in ("group", "subgroup")}
    heads = {label: head([prompt(name) for name in known]) for label, known in labels.items()}
    names = {
        seen: [c["name"] for c in concepts.values() if (c["pretraining"] == "train") == seen]
        for seen in (True, False)
    }
    name_heads = {seen: head(known) for seen, known in names.items()}
    files = ("images.parquet", "images-openmoji.parquet")
    rows = [row for file in files for row in pq.read_table(data / file).to_pylist()]
    found: Metrics = {}
    for style in ALL_STYLES:
        for part in parts:
            chosen = [
                row
                for row in rows
                if row["style"] == style and concepts[row["codepoints"]]["pretraining"] == part
            ]
            pixels = decode([row["image"] for row in chosen])
            images = torch.cat(
                [
                    features(clip.get_image_features(**processor(images=list(batch), return_tensors="pt")))
                    for batch in pixels.split(128)
                ]
            )
            seen = part == "train"
            result: dict[str, float] = {"n": len(chosen)}
            for task, classes, known in (
                ("group", heads["group"], labels["group"]),
                ("subgroup", heads["subgroup"], labels["subgroup"]),
                ("name", name_heads[seen], names[seen]),
            ):
                truth = torch.tensor([known.index(concepts[row["codepoints"]][task]) for row in chosen])
                hits = (images @ classes.T).topk(5).indices == truth[:, None]
                result[f"{task}_top1"] = round(100 * hits[:, 0].float().mean().item(), 1)
                if task == "name":
                    result["name_top5"] = round(100 * hits.any(1).float().mean().item(), 1)
                result[f"{task}_chance"] = round(100 / len(known), 2)
            found.setdefault(style, {})[part] = result
    return found


def as_table(metrics: Metrics) -> str:
    """The accuracies as a Markdown table."""
    title = {"train": "seen", "val": "unseen, val", "test": "unseen, test"}
    lines = [
        "| style | emoji | n | group | subgroup | name top-1 | name top-5 |",
        "|---|---|---|---|---|---|---|",
    ]
    for style, parts in metrics.items():
        for part, m in parts.items():
            lines.append(
                f"| {style} | {title[part]} | {m['n']:.0f} | {m['group_top1']} | {m['subgroup_top1']} "
                f"| {m['name_top1']} | {m['name_top5']} |"
            )
    for part, m in next(iter(metrics.values())).items():
        lines.append(
            f"| chance | {title[part]} | | {m['group_chance']} | {m['subgroup_chance']} "
            f"| {m['name_chance']} | {round(5 * m['name_chance'], 2)} |"
        )
    return "\n".join(lines) + "\n"
