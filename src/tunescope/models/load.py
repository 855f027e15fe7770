"""Loading a model: bundled, from a folder, or from the hub; one code path for all."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModel,
    AutoTokenizer,
    CLIPVisionModelWithProjection,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from tunescope.errors import ModelError, nearest
from tunescope.models import positions, preprocess, seam, source
from tunescope.models.encoder import Encoder
from tunescope.models.families import FAMILIES
from tunescope.models.modelmap import ModelMap, Tower

VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "spm.model")
FEWEST_TOKENS = 8  # fewer hold no text beside the special tokens of a pair

# How a family's class is asked for, where that is not AutoModel alone. Poolers are never read, features being
# the state below them, and many checkpoints lack theirs. DeBERTa-v2 has no attention but its own.
OPTIONS: dict[str, dict[str, Any]] = {
    "bert": {"add_pooling_layer": False},
    "deberta-v2": {"attn_implementation": "eager"},
    "roberta": {"add_pooling_layer": False},
    "vit": {"add_pooling_layer": False},
}


def load(name: str | Path, image_size: int | None = None, max_tokens: int | None = None) -> Encoder:
    """A pretrained encoder in float32 and evaluation mode, the attention seam installed on every tower.

    Weights come from safetensors alone, and no code from a model's folder is ever run.

    Args:
        name: a bundled model (`emoji-clip`), a folder with a config.json, or a hub id
            (`openai/clip-vit-base-patch32`). A cached hub model stays at its cached commit.
        image_size: pixels of the images that the vision tower is to take, its position embeddings
            interpolated as in `positions.resize`; None leaves it as it is.
        max_tokens: where texts are cut, special tokens included; None cuts them where the positions end.

    Raises:
        ModelError: not found, not readable, weights missing, a family that is not known here, a size that
            is no multiple of the patch size, more tokens than there are positions, or either of them for a
            model that has no such inputs.
    """
    folder = source.local(name) or source.snapshot(str(name))
    config = _config(folder)
    model = _model(folder, config)
    module, _, function = FAMILIES[config["model_type"]].partition(":")
    modelmap = getattr(import_module(module), function)(model)
    seam.install(model, modelmap)
    tokenizer = None
    if "text" in modelmap.towers:
        tokenizer = _tokenizer(folder, model, modelmap.tower("text"))
    images = None
    if "vision" in modelmap.towers:
        images = preprocess.read(folder)
        modelmap = _fitted(modelmap, images, folder)
    encoder = Encoder(str(name), model, modelmap, images, tokenizer, _cut(modelmap, max_tokens))
    if image_size is not None:
        if images is None:
            raise ModelError(f"{name}: image_size {image_size}, but {modelmap.family} reads no images")
        positions.resize(encoder, image_size)
    return encoder


def _cut(modelmap: ModelMap, max_tokens: int | None) -> int | None:
    """`max_tokens`, where the model can do so.

    Raises:
        ModelError: it cannot.
    """
    if max_tokens is None:
        return None
    if "text" not in modelmap.towers:
        raise ModelError(f"max_tokens {max_tokens}, but {modelmap.family} reads no texts; leave it out")
    allowed = modelmap.tower("text").max_tokens
    assert allowed is not None  # every text tower says it
    if modelmap.family == "siglip" and max_tokens != allowed:
        raise ModelError(
            f"max_tokens {max_tokens}: siglip reads texts padded to {allowed} tokens; leave it out"
        )
    if not FEWEST_TOKENS <= max_tokens <= allowed:
        raise ModelError(
            f"max_tokens {max_tokens}: expected {FEWEST_TOKENS} to {allowed}, the positions of "
            f"{modelmap.family} in this model"
        )
    return max_tokens


def _fitted(modelmap: ModelMap, images: preprocess.Preprocess, folder: Path) -> ModelMap:
    """The map with the grid of the images that really come: DINOv2 is trained at 518 pixels, used at 224."""
    tower = modelmap.tower("vision")
    if images.size == tower.image_size:
        return modelmap
    if not tower.interpolates or tower.patch_size is None:
        raise ModelError(
            f"{folder}: the preprocessing gives {images.size}-pixel images, config.json says "
            f"{tower.image_size}; "
            "make them agree (tunescope.models.positions.resize fits a model to another size)"
        )
    side = images.size // tower.patch_size
    fitted = replace(tower, grid=(side, side), image_size=images.size)
    return replace(modelmap, towers=modelmap.towers | {"vision": fitted})


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        adapter = (folder / "adapter_config.json").is_file()
        hint = (
            "this is a PEFT adapter: merge it into its base model" if adapter else "is this a model's folder?"
        )
        raise ModelError(f"{folder}: no config.json; {hint}")
    config = source.settings(path)
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise ModelError(f"{path}: model_type {kind!r} is not supported; {nearest(str(kind), FAMILIES)}")
    if config.get("is_decoder"):
        raise ModelError(
            f"{path}: is_decoder is {config['is_decoder']!r}, so that tokens see only those before them; "
            "expected an encoder: take the checkpoint that this one was made from, or remove the key"
        )
    return config


def _model(folder: Path, config: dict[str, Any]) -> PreTrainedModel:
    if not list(folder.glob("model*.safetensors")):
        others = [path.name for path in sorted(folder.glob("*.bin"))]
        found = (
            f"found {', '.join(others)}, which is a pickle and is never read; convert it"
            if others
            else "none found"
        )
        raise ModelError(f"{folder}: expected weights in model.safetensors; {found}")
    cls: Any = AutoModel
    if "CLIPVisionModelWithProjection" in (config.get("architectures") or ()):
        cls = CLIPVisionModelWithProjection
    options = {"attn_implementation": "sdpa"} | OPTIONS.get(config["model_type"], {})
    try:
        with _quiet():
            model, found = cls.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        message = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{folder}: the weights cannot be read ({message}); fetch or save them again"
        ) from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise ModelError(
            f"{folder}: {len(missing)} weights that {type(model).__name__} needs are not in the file "
            f"({', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}) and would be random; "
            "save the whole model, or merge the adapter first"
        )
    return model.eval()


def _tokenizer(folder: Path, model: PreTrainedModel, tower: Tower) -> PreTrainedTokenizerBase:
    """The text tower's tokenizer. Transformers would make an empty one up where the files are missing."""
    fix = "copy the tokenizer's files from the model that this one was tuned from"
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise ModelError(f"{folder}: no tokenizer ({', '.join(VOCABULARIES)}) for the text tower; {fix}")
    try:
        with _quiet():
            try:
                tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            except ImportError:
                if not (folder / "tokenizer.json").is_file():
                    raise
                # SigLIP's own class wants sentencepiece; tokenizer.json says the same without it
                tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises plain Exception for a file it cannot read
        message = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{folder}: the tokenizer cannot be read ({message}); {fix}") from error
    rows = len(model.get_parameter(f"{tower.words}.weight"))
    if len(tokenizer) > rows:
        raise ModelError(
            f"{folder}: the tokenizer has {len(tokenizer)} tokens, the model knows {rows}; {fix}"
        )
    return tokenizer


@contextmanager
def _quiet() -> Iterator[None]:
    """Transformers' progress bars and reports aside: what matters in them becomes a ModelError."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
