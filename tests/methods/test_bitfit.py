import pytest
from torch import nn

from tunescope.errors import MethodError
from tunescope.methods.bitfit import BitFit


def test_every_bias_and_nothing_else(tiny):
    encoder = tiny("siglip")
    installed = BitFit().install(encoder)
    head = {name for name in installed.trainable if ".head." in name}
    assert head == {
        f"vision_model.head.{name}"
        for name in (
            "attention.in_proj_bias",
            "attention.out_proj.bias",
            "layernorm.bias",
            "mlp.fc1.bias",
            "mlp.fc2.bias",
        )
    }
    assert "vision_model.embeddings.patch_embedding.bias" in installed.trainable
    left = {name for name, _ in encoder.model.named_parameters()} - installed.trainable.keys()
    assert not [name for name in left if name.startswith("vision") and "bias" in name]


def test_a_tower_without_biases(tiny):
    encoder = tiny("vit")
    for module in encoder.model.modules():
        if isinstance(module, nn.Linear | nn.LayerNorm | nn.Conv2d):
            module.register_parameter("bias", None)
    with pytest.raises(MethodError, match=r"bitfit: the vision tower .*\(vit\) has no biases; use layernorm"):
        BitFit().install(encoder)
