import copy

import by_hand
import pytest
import torch

from tunescope.errors import MethodError, StudyError
from tunescope.methods.houlsby import Houlsby

LAYERS = {"vit": "layers", "clip": "vision_model.encoder.layers"}


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("family", LAYERS)
def test_it_is_the_forward_pass_written_out_by_hand(tiny, family, activation):
    encoder = tiny(family)
    model = by_hand.plain(encoder)
    state = by_hand.stirred(Houlsby(rank=4, activation=activation).install(encoder))

    def after(name):
        def change(layer, *given):
            y = given[-1]
            path = f"{LAYERS[family]}.{layer}.{name}"
            return y + by_hand.bottleneck(state, path, y, activation)

        return change

    pixels = by_hand.pixels()
    expected, *_ = by_hand.forward(
        model, pixels, attention=after("adapter_attention"), mlp=after("adapter_mlp")
    )
    with torch.no_grad():
        found = encoder.image_features(pixels)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    untouched, *_ = by_hand.forward(model, pixels)
    assert (found - untouched).abs().max() > 0.1


def test_the_reference_is_the_plain_model(tiny):
    for family in LAYERS:
        model = by_hand.plain(tiny(family))
        expected, *_ = by_hand.forward(model, by_hand.pixels())
        encoder = tiny(family)
        encoder.model.double()
        found = encoder.image_features(by_hand.pixels())
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("blocks", "expected"), [("0-", "012"), ("1-", "12"), ("-1", "01"), ("2", "2"), (2, "2"), ("0-1", "01")]
)
def test_the_blocks_that_were_chosen(tiny, blocks, expected):
    installed = Houlsby(rank=2, blocks=blocks).install(tiny("vit"))
    assert {name.split(".")[1] for name in installed.trainable} == set(expected)
    assert {name.split(".")[2] for name in installed.trainable} == {"adapter_attention", "adapter_mlp"}


def test_a_copy_of_the_model_acts_with_its_own_adapters(tiny):
    encoder = tiny("vit")
    installed = Houlsby(rank=2).install(encoder)
    other = copy.deepcopy(encoder)
    pixels = by_hand.pixels().float()
    before = encoder.image_features(pixels)
    by_hand.stirred(installed)
    assert torch.equal(other.image_features(pixels), before)
    for name, value in installed.state_dict().items():
        other.model.get_parameter(name).data.copy_(value)
    found = encoder.image_features(pixels.double())
    torch.testing.assert_close(other.image_features(pixels), found.float(), atol=1e-4, rtol=1e-4)


def test_taken_off_twice_it_stays_off_until_both_are_over(tiny):
    encoder = tiny("vit")
    pixels = by_hand.pixels()
    base = tiny("vit")
    base.model.double()
    installed = Houlsby(rank=2).install(encoder)
    by_hand.stirred(installed)
    expected, active = base.image_features(pixels), encoder.image_features(pixels)
    with installed.without():
        with installed.without():
            assert torch.equal(encoder.image_features(pixels), expected)
        assert torch.equal(encoder.image_features(pixels), expected)
    assert torch.equal(encoder.image_features(pixels), active)


def test_with_checkpointed_gradients_they_are_the_same(tiny):
    found = []
    for checkpointed in (False, True):
        encoder = tiny("vit")
        torch.manual_seed(0)
        installed = Houlsby(rank=2).install(encoder)
        by_hand.stirred(installed)
        if checkpointed:
            encoder.model.activation_checkpointing_enable({"use_reentrant": False})
        encoder.model.train()
        encoder.image_features(by_hand.pixels()).square().sum().backward()
        found.append({name: p.grad for name, p in installed.trainable.items()})
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 33}, r"houlsby: rank=33, but the vision tower .* is 32 wide; give a rank of at most 32"),
        ({"blocks": "1-3"}, r"the tower has blocks 0 to 2"),
        ({"blocks": "3"}, r"the tower has blocks 0 to 2"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_changed(tiny, settings, message):
    encoder = tiny("vit")
    names = [name for name, _ in encoder.model.named_parameters()]
    with pytest.raises(MethodError, match=message):
        Houlsby(**settings).install(encoder)
    assert [name for name, _ in encoder.model.named_parameters()] == names


def test_it_is_not_installed_twice(tiny):
    encoder = tiny("vit")
    Houlsby(rank=1).install(encoder)
    with pytest.raises(MethodError, match=r"layers.0 already has 'adapter_attention'.* freshly loaded"):
        Houlsby(rank=1).install(encoder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank.*greater than or equal to 1, got 0"),
        ({"blocks": "first"}, "blocks.*pattern.*got 'first'"),
        ({"activation": "tanh"}, "activation"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(StudyError, match=message):
        Houlsby.parse({"kind": "houlsby", **settings}, "adapt")
