import by_hand
import pytest
import torch

from tunescope.methods.adapter_plus import AdapterPlus

LAYERS = {"vit": "layers", "clip": "vision_model.encoder.layers"}


@pytest.mark.parametrize("family", LAYERS)
def test_it_is_the_forward_pass_written_out_by_hand(tiny, family):
    encoder = tiny(family)
    model = by_hand.plain(encoder)
    state = by_hand.stirred(AdapterPlus(rank=4).install(encoder))

    def behind(layer, x):
        path = f"{LAYERS[family]}.{layer}.adapter"
        return x + state[f"{path}.scale"].double() * by_hand.bottleneck(state, path, x)

    expected, *_ = by_hand.forward(model, by_hand.pixels(), block=behind)
    with torch.no_grad():
        found = encoder.image_features(by_hand.pixels())
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def test_it_starts_as_published(tiny):
    encoder = tiny("vit")
    torch.manual_seed(0)
    state = AdapterPlus(rank=16).install(encoder).state_dict()
    assert all((value == 0).all() for name, value in state.items() if name.endswith("bias"))
    assert all((value == 1).all() for name, value in state.items() if name.endswith("scale"))
    drawn = torch.cat([value.flatten() for name, value in state.items() if name.endswith("weight")])
    assert drawn.abs().max() <= 0.02
    # a normal distribution cut at two standard deviations keeps 0.8796 of its width
    assert drawn.std().item() == pytest.approx(0.01 * 0.8796, rel=0.05)


def test_the_first_output_is_near_the_base_s(tiny):
    pixels = by_hand.pixels().float()
    base = tiny("vit").image_features(pixels)
    encoder = tiny("vit")
    torch.manual_seed(0)
    AdapterPlus().install(encoder)
    torch.testing.assert_close(encoder.image_features(pixels), base, atol=0.05, rtol=0)
