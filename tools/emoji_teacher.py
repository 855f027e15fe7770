"""The sentence encoder that `emoji-clip`'s text tower learns word meanings from; never bundled."""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

WIDTH = 128


@torch.inference_mode()
def teach(folder: Path, texts: list[str], cache: Path) -> Tensor:
    """What the teacher makes of each text: [texts, 128], unit rows.

    Its 384 dimensions, averaged over tokens as its authors do, are centred and reduced to their 128
    principal ones, so that the student's space can be the same space. Kept in the cache by content.
    """
    key = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
    file = cache / f"taught-{key}.safetensors"
    if file.is_file():
        return load_file(file)["taught"]
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    rows: list[Tensor] = [torch.empty(0)] * len(texts)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # less padding
    for start in range(0, len(order), 128):
        index = order[start : start + 128]
        batch = tokenizer([texts[i] for i in index], padding=True, truncation=True, return_tensors="pt")
        mask = batch["attention_mask"][..., None]
        states = model(**batch).last_hidden_state
        for i, row in zip(index, normalize((states * mask).sum(1) / mask.sum(1), dim=-1), strict=True):
            rows[i] = row
    found = torch.stack(rows)
    centred = found - found.mean(0)
    directions = torch.linalg.svd(centred.T @ centred).U[:, :WIDTH]
    taught = normalize(centred @ directions, dim=-1).contiguous()
    save_file({"taught": taught}, file)
    return taught
