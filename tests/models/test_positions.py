import copy

import numpy as np
import pytest
import torch
from families import FAMILIES
from transformers import AutoModel

from tunescope.errors import ModelError
from tunescope.models.positions import interpolate, resize
from tunescope.models.seam import watch

IN_WEIGHTS = ("clip", "siglip", "vit")


def table(encoder) -> torch.Tensor:
    held = encoder.model.get_parameter if encoder.map.family in ("vit", "dinov2") else None
    path = encoder.map.tower("vision").positions
    return held(path)[0] if held else encoder.model.get_submodule(path).weight


def kernel(x: float) -> float:
    """Keys' cubic with a = −0.5, which antialiased bicubic interpolation uses."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def weights(size: int, wanted: int) -> np.ndarray:
    found = np.zeros((wanted, size))
    scale = size / wanted
    stretch = max(scale, 1.0)
    for i in range(wanted):
        centre = scale * (i + 0.5)
        for j in range(size):
            found[i, j] = kernel((j + 0.5 - centre) / stretch)
        found[i] /= found[i].sum()
    return found


@pytest.mark.parametrize("to", [(8, 8), (3, 3), (2, 2), (7, 5), (5, 4)])
def test_interpolation_against_a_slow_reference(to):
    positions = torch.randn(2 + 4 * 4, 3)
    found = interpolate(positions, 2, (4, 4), to)
    grid = positions[2:].double().numpy().reshape(4, 4, 3)
    wanted = np.einsum("ia,jb,abd->ijd", weights(4, to[0]), weights(4, to[1]), grid).reshape(-1, 3)
    assert torch.equal(found[:2], positions[:2])
    np.testing.assert_allclose(found[2:].numpy(), wanted, atol=1e-5)


def test_the_same_grid_is_the_identity():
    positions = torch.randn(17, 3)
    found = interpolate(positions, 1, (4, 4), (4, 4))
    assert torch.equal(found, positions)
    assert found.data_ptr() != positions.data_ptr()


@pytest.mark.parametrize("family", FAMILIES)
def test_resizing_to_the_same_size_changes_nothing(tiny, family):
    encoder, pixels = tiny(family), torch.randn(2, 3, 32, 32)
    before, state = encoder.image_features(pixels), copy.deepcopy(encoder.model.state_dict())
    config, old_map, preprocess = encoder.model.config.to_dict(), encoder.map, encoder.preprocess
    resize(encoder, 32)
    assert torch.equal(encoder.image_features(pixels), before)
    assert encoder.model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in encoder.model.state_dict().items())
    assert (encoder.model.config.to_dict(), encoder.map, encoder.preprocess) == (config, old_map, preprocess)


@pytest.mark.parametrize("size", [64, 16, 40])
@pytest.mark.parametrize("family", FAMILIES)
def test_another_size_runs_and_is_known_everywhere(tiny, family, size):
    encoder = tiny(family)
    side, prefix = size // 8, encoder.map.tower("vision").prefix_tokens
    resize(encoder, size)
    tower = encoder.map.tower("vision")
    assert (tower.grid, tower.image_size, encoder.preprocess.size) == ((side, side), size, size)
    with watch(encoder, "vision", rows="pool") as seen:
        features = encoder.image_features(torch.randn(2, 3, size, size))
    assert features.shape == (2, encoder.feature_dim)
    assert seen.rows.shape[-1] == prefix + side * side


@pytest.mark.parametrize("family", IN_WEIGHTS)
def test_special_tokens_keep_their_row_and_the_patches_theirs_on_average(tiny, family):
    encoder = tiny(family)
    before = table(encoder).detach().clone()
    resize(encoder, 64)
    after = table(encoder).detach()
    prefix = encoder.map.tower("vision").prefix_tokens
    assert after.shape == (prefix + 64, 32)
    assert torch.equal(after[:prefix], before[:prefix])
    wanted = interpolate(before, prefix, (4, 4), (8, 8))
    assert torch.equal(after, wanted)


@pytest.mark.parametrize("family", IN_WEIGHTS)
@pytest.mark.parametrize("trainable", [True, False])
def test_what_was_frozen_stays_frozen(tiny, family, trainable):
    encoder = tiny(family)
    encoder.model.requires_grad_(trainable)
    names = [name for name, _ in encoder.model.named_parameters()]
    resize(encoder, 64)
    assert [name for name, _ in encoder.model.named_parameters()] == names
    assert {p.requires_grad for p in encoder.model.parameters()} == {trainable}


@pytest.mark.parametrize("family", ["dinov2", "dinov2_registers"])
def test_dinov2_interpolates_by_itself(tiny, family):
    encoder, plain = tiny(family), tiny(family)
    resize(encoder, 64)
    pixels = torch.randn(1, 3, 64, 64)
    assert torch.equal(encoder.image_features(pixels), plain.image_features(pixels))
    assert encoder.preprocess.edge == 72


@pytest.mark.parametrize("family", FAMILIES)
def test_a_resized_model_is_saved_and_loaded_as_any_other(tiny, tmp_path, family):
    encoder = tiny(family)
    resize(encoder, 64)
    encoder.model.save_pretrained(tmp_path)
    pixels = torch.randn(1, 3, 64, 64)
    again = AutoModel.from_pretrained(tmp_path).eval()
    if encoder.joint:
        output = again.get_image_features(pixel_values=pixels).pooler_output
    else:
        output = again(pixel_values=pixels).last_hidden_state[:, 0]
    torch.testing.assert_close(output, encoder.image_features(pixels))


@pytest.mark.parametrize("size", [0, 4, 30, -8])
def test_a_size_that_is_no_multiple_of_the_patch(tiny, size):
    with pytest.raises(
        ModelError, match=f"image_size {size}: expected a multiple of the patch size 8, such as"
    ):
        resize(tiny("clip"), size)
