import numpy as np
import pytest
import torch

from tunescope.errors import MethodError, StudyError
from tunescope.methods.lora import LoRA


def test_the_change_is_alpha_over_rank_times_b_times_a(tiny):
    encoder = tiny("clip")
    torch.manual_seed(0)
    installed = LoRA(rank=2, alpha=3.0, targets=("blocks[1].attention.v",)).install(encoder)
    (path,) = encoder.map.paths("blocks[1].attention.v")
    weight = encoder.model.get_parameter(f"{path}.base_layer.weight").detach().double().numpy().copy()
    for parameter in installed.trainable.values():
        torch.nn.init.normal_(parameter)
    a, b = (value.double().numpy() for value in installed.state_dict().values())
    assert (a.shape, b.shape) == ((2, 32), (32, 2))
    expected = weight + 3.0 / 2 * sum(np.outer(b[:, r], a[r]) for r in range(2))
    installed.merge()
    merged = encoder.model.get_parameter(f"{path}.weight").detach().numpy()
    np.testing.assert_allclose(merged, expected, atol=1e-5)


def test_targets_are_found_by_their_whole_path(tiny):
    encoder = tiny("clip")
    installed = LoRA(rank=1, targets=("vision.blocks[0].attention.q",)).install(encoder)
    assert {name.rsplit(".lora_", 1)[0] for name in installed.trainable} == {
        "vision_model.encoder.layers.0.self_attn.q_proj"
    }


def test_a_target_named_twice_counts_once(tiny):
    installed = LoRA(rank=1, targets=("q", "attention.q", "blocks[0].attention.q")).install(tiny("vit"))
    assert len(installed.trainable) == 2 * 3
    installed.merge()


def test_dropout_acts_in_training_only(tiny):
    encoder = tiny("vit")
    installed = LoRA(rank=4, dropout=0.5).install(encoder)
    for parameter in installed.trainable.values():
        torch.nn.init.normal_(parameter)
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(encoder.image_features(pixels), encoder.image_features(pixels))
        encoder.model.train()
        assert not torch.equal(encoder.image_features(pixels), encoder.image_features(pixels))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 33}, r"rank=33, but .*q_proj is 32 × 32; give a rank of at most 32"),
        (
            {"rank": 1, "targets": ("norm1",)},
            r"norm1|layernorm_before is a LayerNorm, not a plain linear layer",
        ),
        ({"rank": 1, "targets": ("query",)}, r"unknown role 'query'"),
        ({"rank": 1, "targets": ("blocks[7].attention.q",)}, r"has blocks 0 to 2"),
        ({"rank": 1, "targets": ("gate",)}, r"have no gate"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_and_nothing_is_changed(tiny, settings, message):
    encoder = tiny("vit")
    names = [name for name, _ in encoder.model.named_parameters()]
    with pytest.raises(MethodError, match=message):
        LoRA(**settings).install(encoder)
    assert [name for name, _ in encoder.model.named_parameters()] == names


def test_it_is_not_installed_twice(tiny):
    encoder = tiny("vit")
    LoRA(rank=1).install(encoder)
    with pytest.raises(MethodError, match="freshly loaded"):
        LoRA(rank=1).install(encoder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank.*greater than or equal to 1, got 0"),
        ({"alpha": 0}, "alpha"),
        ({"dropout": 1.0}, "dropout"),
        ({"targets": []}, "targets"),
        ({"rnak": 4}, "did you mean 'rank'"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(StudyError, match=message):
        LoRA.parse({"kind": "lora", **settings}, "runs.lora.adapt")


def test_weights_that_are_not_finite_are_not_merged(tiny):
    encoder = tiny("vit")
    installed = LoRA(rank=1).install(encoder)
    for parameter in installed.trainable.values():
        torch.nn.init.constant_(parameter, torch.inf)
    with pytest.raises(MethodError, match="not finite"):
        installed.merge()
