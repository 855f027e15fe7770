from torch import nn

from tunescope.methods.layernorm import LayerNorm
from tunescope.models.modelmap import module_at


def norms(installed):
    return sorted({name.rpartition(".")[0] for name in installed.trainable})


def test_the_norms_before_in_and_after_the_blocks(tiny):
    parts = [f"encoder.layers.{i}.layer_norm{j}" for i in range(3) for j in (1, 2)]
    parts += ["post_layernorm", "pre_layrnorm"]
    assert norms(LayerNorm().install(tiny("clip"))) == [f"vision_model.{part}" for part in parts]


def test_the_norm_of_a_pooling_head(tiny):
    assert "vision_model.head.layernorm" in norms(LayerNorm().install(tiny("siglip")))


def test_a_norm_of_another_type_is_found_by_its_role(tiny):
    encoder = tiny("vit")
    path = encoder.map.tower("vision").blocks[1].norm2
    encoder.model.set_submodule(path, nn.RMSNorm(32))
    installed = LayerNorm().install(encoder)
    assert f"{path}.weight" in installed.trainable
    assert f"{path}.bias" not in installed.trainable
    assert installed.trainable[f"{path}.weight"] is module_at(encoder.model, path).weight
    assert len(norms(installed)) == 7
