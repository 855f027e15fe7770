from typing import Any

import by_hand
import pytest
import torch
from families import save_tiny

from tunescope.methods.parallel_adapter import ParallelAdapter
from tunescope.models.load import load
from tunescope.models.modelmap import module_at

LAYERS = {"vit": "layers", "clip": "vision_model.encoder.layers"}


@pytest.mark.parametrize("family", LAYERS)
def test_it_is_the_forward_pass_written_out_by_hand(tiny, family):
    encoder = tiny(family)
    model = by_hand.plain(encoder)
    state = by_hand.stirred(ParallelAdapter(rank=4, scale=1.5).install(encoder))

    def beside(layer, x, y):
        path = f"{LAYERS[family]}.{layer}.adapter_mlp"
        return y + 1.5 * by_hand.bottleneck(state, path, x, "relu")

    expected, *_ = by_hand.forward(model, by_hand.pixels(), mlp=beside)
    with torch.no_grad():
        found = encoder.image_features(by_hand.pixels())
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def test_the_paper_s_activation_and_scale_are_the_defaults(tiny):
    encoder = tiny("vit")
    installed = ParallelAdapter(rank=2).install(encoder)
    state = by_hand.stirred(installed)
    x = torch.randn(1, 2, 32, dtype=torch.float64)
    layer = module_at(encoder.model, "layers.0.adapter_mlp")
    torch.testing.assert_close(layer(x), 4 * by_hand.bottleneck(state, "layers.0.adapter_mlp", x, "relu"))


def test_beside_a_gated_mlp_it_reads_what_the_gate_reads(tmp_path):
    encoder = load(save_tiny("dinov2", tmp_path, use_swiglu_ffn=True))
    installed = ParallelAdapter(rank=2).install(encoder)
    state = by_hand.stirred(installed)
    block = encoder.map.tower("vision").blocks[1]
    mlp: Any = module_at(encoder.model, f"{block.path}.mlp")
    x = torch.randn(1, 5, 32, dtype=torch.float64)
    with torch.no_grad():
        found = mlp(x)
        gated = mlp.act_fn(x @ mlp.gate_proj.weight.T + mlp.gate_proj.bias)
        plain = (gated * (x @ mlp.up_proj.weight.T + mlp.up_proj.bias)) @ mlp.down_proj.weight.T
    change = 4 * by_hand.bottleneck(state, f"{block.path}.adapter_mlp", x, "relu")
    torch.testing.assert_close(found, plain + mlp.down_proj.bias + change)


def test_nothing_of_a_forward_pass_is_kept(tiny):
    encoder = tiny("vit")
    ParallelAdapter(rank=2).install(encoder)
    encoder.image_features(by_hand.pixels().float())
    assert module_at(encoder.model, "layers.0.adapter_mlp").given is None
