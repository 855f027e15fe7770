import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES, clip_tokenizer, save_tiny
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)

from tunescope.errors import ModelError
from tunescope.models.load import FAMILIES as KNOWN
from tunescope.models.load import load

VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}


@pytest.fixture
def folder(tiny_folder, tmp_path: Path) -> Path:
    """A tiny CLIP of one's own, to break."""
    return Path(shutil.copytree(tiny_folder("clip"), tmp_path / "clip"))


def edit(path: Path, **settings) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_loaded_is_ready_to_be_measured(tiny, family):
    encoder = tiny(family)
    assert not encoder.model.training
    assert {parameter.dtype for parameter in encoder.model.parameters()} == {torch.float32}
    for tower in encoder.map.towers.values():
        for block in tower.blocks:
            module = encoder.model.get_submodule(block.attention)
            assert module.config._attn_implementation == "tunescope"


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_those_of_the_file(tiny, tiny_folder, tmp_path, family):
    saved = load_file(tiny_folder(family) / "model.safetensors")
    encoder = tiny(family)
    encoder.model.save_pretrained(tmp_path)
    again = load_file(tmp_path / "model.safetensors")
    kept = {name.removeprefix("vit."): value for name, value in saved.items() if "classifier" not in name}
    assert again.keys() == kept.keys()
    assert len(again) == len(encoder.model.state_dict())
    for name, value in kept.items():
        assert torch.equal(again[name], value), name


def test_half_precision_weights_become_float32(tiny, folder):
    path = folder / "model.safetensors"
    save_file({k: v.half() for k, v in load_file(path).items()}, path, metadata={"format": "pt"})
    edit(folder / "config.json", dtype="float16")
    parameters = dict(load(folder).model.named_parameters())
    original = dict(tiny("clip").model.named_parameters())
    assert {p.dtype for p in parameters.values()} == {torch.float32}
    assert all(torch.equal(p, original[name].half().float()) for name, p in parameters.items())


def test_a_folder_may_be_named_by_a_string_or_a_path(tiny_folder, monkeypatch):
    monkeypatch.chdir(tiny_folder("vit").parent)
    assert load("./vit").name == "./vit"
    assert load("vit").map.family == "vit"


def test_transformers_own_class_loads_the_same_folder(tiny, tiny_folder):
    plain = CLIPModel.from_pretrained(tiny_folder("clip")).eval()
    encoder = tiny("clip")
    pixels = torch.rand(2, 3, 32, 32)
    tokens = encoder.tokens(["a cat", "two dogs"])
    with torch.no_grad():
        wanted = plain(pixel_values=pixels, **tokens)
        image = torch.nn.functional.normalize(encoder.image_features(pixels), dim=-1)
        text = torch.nn.functional.normalize(encoder.text_features(["a cat", "two dogs"]), dim=-1)
    torch.testing.assert_close(image, wanted.image_embeds)
    torch.testing.assert_close(text, wanted.text_embeds)


@pytest.mark.parametrize(
    ("cls", "config", "like", "dim"),
    [
        (CLIPVisionModel, CLIPVisionConfig(**VISION), "clip", 32),
        (CLIPVisionModelWithProjection, CLIPVisionConfig(projection_dim=24, **VISION), "clip", 24),
        (SiglipVisionModel, SiglipVisionConfig(**VISION), "siglip", 32),
        (ViTModel, ViTConfig(**VISION), "vit", 32),
    ],
)
def test_a_vision_tower_alone(tiny_folder, tmp_path, cls, config, like, dim):
    model = cls(config).eval()
    model.save_pretrained(tmp_path)
    shutil.copy(tiny_folder(like) / "preprocessor_config.json", tmp_path)
    encoder = load(tmp_path)
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        output = model(pixel_values=pixels)
        features = encoder.image_features(pixels)
    if cls is ViTModel:
        wanted = output.last_hidden_state[:, 0]
    else:
        wanted = output.image_embeds if cls is CLIPVisionModelWithProjection else output.pooler_output
    torch.testing.assert_close(features, wanted)
    assert encoder.feature_dim == features.shape[1] == dim
    for _, path in encoder.map.roles():
        encoder.model.get_submodule(path)


@pytest.mark.parametrize("family", ["dinov2", "dinov2_registers"])
def test_a_gated_mlp_has_one_role_more(tmp_path, family):
    encoder = load(save_tiny(family, tmp_path, use_swiglu_ffn=True))
    assert encoder.map.paths("gate") == [f"encoder.layer.{i}.mlp.gate_proj" for i in range(3)]
    assert encoder.model.get_submodule(encoder.map.paths("fc2")[0]).out_features == 32
    assert sum(role.endswith("mlp.gate") for role, _ in encoder.map.roles()) == 3


def test_dinov2_is_mapped_at_the_resolution_it_is_used_at(tmp_path):
    save_tiny("dinov2", tmp_path)
    crop = {"height": 16, "width": 16}
    edit(tmp_path / "preprocessor_config.json", size={"shortest_edge": 18}, crop_size=crop)
    encoder = load(tmp_path)
    assert (encoder.map.tower("vision").grid, encoder.map.tower("vision").image_size) == ((2, 2), 16)
    assert encoder.image_features(torch.rand(1, 3, 16, 16)).shape == (1, 32)


def test_siglip_is_read_without_sentencepiece_where_tokenizer_json_is(tiny, tiny_folder, tmp_path):
    folder = Path(shutil.copytree(tiny_folder("siglip"), tmp_path / "siglip"))
    edit(folder / "tokenizer_config.json", tokenizer_class="SiglipTokenizer")
    texts = ["A photo of a cat."]
    assert torch.equal(load(folder).tokens(texts)["input_ids"], tiny("siglip").tokens(texts)["input_ids"])


def refused(name, *parts: str) -> None:
    with pytest.raises(ModelError) as caught:
        load(name)
    for part in parts:
        assert part in str(caught.value)


def test_a_missing_folder(tmp_path):
    refused(tmp_path / "nowhere", "nowhere", "no such folder")


def test_a_folder_without_config(tmp_path):
    refused(tmp_path, "no config.json")
    (tmp_path / "adapter_config.json").write_text("{}")
    refused(tmp_path, "PEFT adapter")


def test_an_unknown_family_names_the_known_ones(folder):
    edit(folder / "config.json", model_type="clop")
    refused(folder, "'clop'", "did you mean 'clip'", *KNOWN)


def test_a_decoder_is_refused(tiny_folder, tmp_path):
    made = shutil.copytree(tiny_folder("bert"), tmp_path / "decoder")
    edit(made / "config.json", is_decoder=True)
    refused(made, "config.json: is_decoder is True", "expected an encoder")


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_broken_config(folder, text):
    (folder / "config.json").write_text(text)
    refused(folder, "config.json")


def test_missing_weights(folder):
    (folder / "model.safetensors").unlink()
    refused(folder, "expected weights in model.safetensors", "none found")


def test_pickled_weights_are_not_read(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"anything")
    refused(folder, "pytorch_model.bin", "pickle", "convert")


@pytest.mark.parametrize("keep", [0, 4, 1000, -1000])
def test_corrupt_weights(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    refused(folder, "cannot be read")


def test_weights_of_another_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    edit(folder / "config.json", vision_config=config["vision_config"] | {"hidden_size": 64})
    refused(folder, "cannot be read")


def test_weights_that_would_be_random_are_refused(folder):
    path = folder / "model.safetensors"
    state = load_file(path)
    del state["visual_projection.weight"]
    save_file(state, path, metadata={"format": "pt"})
    refused(folder, "visual_projection.weight", "would be random")


def test_a_missing_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    refused(folder, "no tokenizer", "copy")


def test_a_broken_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{")
    refused(folder, "tokenizer cannot be read", "copy")


def test_a_tokenizer_of_another_model(folder):
    tokenizer = clip_tokenizer()
    tokenizer.add_tokens(["one-too-many"])
    tokenizer.save_pretrained(folder)
    refused(folder, "515 tokens, the model knows 514")


def test_preprocessing_of_another_size(folder):
    crop = {"height": 64, "width": 64}
    edit(folder / "preprocessor_config.json", size={"shortest_edge": 64}, crop_size=crop)
    refused(folder, "64-pixel images", "config.json says 32")


def test_siglip_without_its_pooling_head(tiny_folder, tmp_path):
    SiglipVisionModel(SiglipVisionConfig(vision_use_head=False, **VISION)).save_pretrained(tmp_path)
    refused(tmp_path, "vision_use_head")


def test_code_in_a_folder_is_never_run(folder, tmp_path):
    sign = tmp_path / "ran"
    (folder / "modeling.py").write_text(f"open({str(sign)!r}, 'w').close()\nModel = None\n")
    edit(folder / "config.json", auto_map={"AutoModel": "modeling.Model", "AutoConfig": "modeling.Model"})
    load(folder)
    assert not sign.exists()


def test_loading_is_quiet_and_leaves_transformers_reporting_as_it_was(tiny, capfd):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    tiny("vit")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")
