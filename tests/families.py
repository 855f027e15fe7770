"""Tiny randomly initialised models of every family, saved as ordinary Hugging Face folders.

Weights are wide enough that attention is far from uniform; the same settings give the same weights.
"""

import json
from pathlib import Path
from typing import Any

import text_families
import torch
from text_families import TEXT_FAMILIES
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipModel,
    ViTConfig,
    ViTForImageClassification,
)

FAMILIES = ("clip", "siglip", "vit", "dinov2", "dinov2_registers")
IMAGE_SIZE, PATCH_SIZE = 32, 8


def save_tiny(family: str, folder: Path, **overrides: Any) -> Path:
    """Save a tiny model of `family` with its tokenizer and preprocessing; returns the folder.

    The towers have 3 blocks of 4 heads, hidden size 32, 32-pixel images in 8-pixel patches (16 patches).

    Args:
        family: one of `FAMILIES` or `TEXT_FAMILIES`.
        folder: made where it is missing.
        overrides: settings of the vision tower's config, such as `image_size=48` or `num_hidden_layers=2`; of
            the whole config, for a text family.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if family in TEXT_FAMILIES:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            encoder = text_families.model(family, overrides)
        _randomise(encoder)
        encoder.save_pretrained(folder)
        text_families.tokenizer(family).save_pretrained(folder)
        return folder
    vision: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": IMAGE_SIZE,
        "patch_size": PATCH_SIZE,
    }
    if family not in ("dinov2", "dinov2_registers"):
        vision["intermediate_size"] = 64
    vision |= overrides
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _model(family, vision)
    _randomise(model)
    model.save_pretrained(folder)
    if family == "clip":
        clip_tokenizer().save_pretrained(folder)
    elif family == "siglip":
        siglip_tokenizer().save_pretrained(folder)
    preprocessor = json.dumps(_preprocessor(family, vision["image_size"]), indent=2)
    (folder / "preprocessor_config.json").write_text(preprocessor)
    return folder


def _model(family: str, vision: dict[str, Any]) -> PreTrainedModel:
    text: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
    }
    if family == "clip":
        ids = clip_tokenizer()
        text |= {
            "vocab_size": len(ids),
            "max_position_embeddings": 32,
            "bos_token_id": ids.bos_token_id,
            "eos_token_id": ids.eos_token_id,
            "pad_token_id": ids.pad_token_id,
        }
        return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))
    if family == "siglip":
        ids = siglip_tokenizer()
        text |= {
            "vocab_size": len(ids),
            "max_position_embeddings": 64,
            "bos_token_id": None,
            "eos_token_id": ids.eos_token_id,
            "pad_token_id": ids.pad_token_id,
            "projection_size": vision["hidden_size"],
        }
        return SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    if family == "vit":
        return ViTForImageClassification(ViTConfig(**vision))
    if family == "dinov2":
        return Dinov2Model(Dinov2Config(mlp_ratio=2, **vision))
    if family == "dinov2_registers":
        return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(mlp_ratio=2, **vision))
    raise ValueError(f"no tiny model of {family!r}; known: {', '.join(FAMILIES)}")


def _randomise(model: PreTrainedModel) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                scale = 2.0 if name.endswith("probe") else 0.2  # SigLIP's probe meets no norm
                parameter.normal_(0, scale, generator=generator)
            elif parameter.ndim == 1:
                parameter.add_(torch.empty_like(parameter).normal_(0, 0.1, generator=generator))


def _preprocessor(family: str, size: int) -> dict[str, Any]:
    square = {"height": size, "width": size}
    if family == "clip":
        return {
            "image_processor_type": "CLIPImageProcessor",
            "size": {"shortest_edge": size},
            "crop_size": square,
        }
    if family == "siglip":
        return {"image_processor_type": "SiglipImageProcessor", "size": square, "resample": 3}
    if family == "vit":
        return {"image_processor_type": "ViTImageProcessor", "size": square, "resample": 2}
    return {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": size * 8 // 7},
        "crop_size": square,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }


def clip_tokenizer() -> CLIPTokenizer:
    """A byte-level tokenizer without merges: one token a byte, [BOS] before and [EOS] after."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=32)


def siglip_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character, `</s>` at the end and as padding, as SigLIP's own has it."""
    pieces = ["<unk>", "</s>", "▁", *"abcdefghijklmnopqrstuvwxyz0123456789"]
    tokenizer = Tokenizer(BPE({piece: i for i, piece in enumerate(pieces)}, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="</s>",
        pad_token="</s>",
        unk_token="<unk>",
        model_max_length=64,
        model_input_names=["input_ids"],
    )
