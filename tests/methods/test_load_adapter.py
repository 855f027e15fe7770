"""Adapters made by plain peft; those that we save ourselves are in the contract."""

import json

import pytest
import torch
from families import IMAGE_SIZE
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from tunescope.errors import MethodError
from tunescope.methods.full import Full
from tunescope.methods.load_adapter import load_adapter
from tunescope.methods.lora import LoRA
from tunescope.models.encoder import Encoder

# peft 0.21 asks transformers for a property under its old name, and so does every user of plain peft.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def features(encoder: Encoder) -> torch.Tensor:
    pixels = torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return encoder.image_features(pixels)


def plain_lora(folder, tiny_folder, tmp_path, **settings):
    """An adapter made without us: targets by suffix, all its weights random."""
    model = AutoModel.from_pretrained(tiny_folder(folder))
    settings = {"r": 2, "target_modules": ["q_proj", "fc2"], "init_lora_weights": False} | settings
    adapted = get_peft_model(model, LoraConfig(**settings)).eval()
    adapted.save_pretrained(tmp_path)
    return adapted


def test_an_adapter_of_plain_peft_on_both_towers(tiny, tiny_folder, tmp_path):
    adapted = plain_lora("siglip", tiny_folder, tmp_path)
    encoder = tiny("siglip")
    installed = load_adapter(encoder, tmp_path)
    with torch.no_grad():
        ids = torch.tensor([[5, 6, 7, 1]])
        pixels = torch.randn(1, 3, IMAGE_SIZE, IMAGE_SIZE)
        expected = adapted(pixel_values=pixels, input_ids=ids).logits_per_image
        found = encoder.model(pixel_values=pixels, input_ids=ids).logits_per_image
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert any(name.startswith("text_model") for name in installed.trainable)
    assert installed.tower == next(iter(encoder.map.towers))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("no folder", "adapter_config.json is missing"),
        ("no weights", "adapter_model.safetensors is missing"),
        ("pickled", r"pickled \(adapter_model.bin\).*save it again with save_pretrained"),
        ({"peft_type": "PROMPT_TUNING"}, "peft_type='PROMPT_TUNING' is none that peft injects"),
        ({"peft_type": "LOAR"}, "peft_type='LOAR'"),
        ({"modules_to_save": ["classifier"]}, r"modules_to_save=\['classifier'\].*merge it with peft"),
        ({"megatron_config": {"a": 1}}, "megatron_config"),
        ({"bias": "all"}, "bias='all'"),
        ({"target_modules": ["query"]}, r"target_modules \(\['query'\]\) name no linear layer"),
        ({"r": 3}, "does not fit .*size mismatch"),
        ({"target_modules": ["q_proj", "fc1"]}, "does not fit"),
        ({"r": "two"}, "does not fit|not settings"),
    ],
)
def test_what_cannot_be_loaded_is_refused_and_the_encoder_stays_plain(
    tiny, tiny_folder, tmp_path, spoil, message
):
    if spoil != "no folder":
        plain_lora("vit", tiny_folder, tmp_path)
    if spoil in ("no weights", "pickled"):
        (tmp_path / "adapter_model.safetensors").unlink()
    if spoil == "pickled":
        (tmp_path / "adapter_model.bin").write_bytes(b"")
    if isinstance(spoil, dict):
        said = json.loads((tmp_path / "adapter_config.json").read_text()) | spoil
        (tmp_path / "adapter_config.json").write_text(json.dumps(said))
    encoder = tiny("vit")
    before = features(encoder)
    names = [name for name, _ in encoder.model.named_parameters()]
    with pytest.raises(MethodError, match=message):
        load_adapter(encoder, tmp_path)
    assert [name for name, _ in encoder.model.named_parameters()] == names
    assert torch.equal(features(encoder), before)
    assert not hasattr(encoder.model, "peft_config")


def test_an_adapter_of_another_model_is_refused(tiny, tiny_folder, tmp_path):
    plain_lora("vit", tiny_folder, tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    renamed = {name.replace("base_model.model.", "base_model.model.vit."): t for name, t in tensors.items()}
    save_file(renamed, tmp_path / "adapter_model.safetensors")
    with pytest.raises(MethodError, match=r"does not fit .*missing adapter keys"):
        load_adapter(tiny("vit"), tmp_path)


def test_it_is_put_on_a_fresh_model_only(tiny, tiny_folder, tmp_path):
    plain_lora("vit", tiny_folder, tmp_path)
    encoder = tiny("vit")
    load_adapter(encoder, tmp_path)
    with pytest.raises(MethodError, match="freshly loaded"):
        load_adapter(encoder, tmp_path)


def test_what_has_no_adapter_is_not_saved_as_one(tiny, tmp_path):
    with pytest.raises(MethodError, match="does not go through peft"):
        Full().install(tiny("vit")).save_adapter(tmp_path)
    installed = LoRA().install(tiny("vit"))
    installed.merge()
    with pytest.raises(MethodError, match="merged"):
        installed.save_adapter(tmp_path)
    assert list(tmp_path.iterdir()) == []
