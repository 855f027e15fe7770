import numpy as np
import pytest
import torch
from families import FAMILIES

from tunescope.errors import ModelError
from tunescope.models import encoder as module
from tunescope.models.seam import watch

TEXTS = ["a photo of a cat.", "Dog!", "three  birds, flying"]


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_are_rescaled_and_normalised(tiny, family):
    encoder = tiny(family)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    mean, std = np.array(encoder.preprocess.mean), np.array(encoder.preprocess.std)
    wanted = ((images.astype(np.float64) / 255 - mean) / std).transpose(0, 3, 1, 2)
    frozen = images.copy()
    frozen.flags.writeable = False
    for given in (images, torch.from_numpy(images), frozen):
        found = encoder.pixels(given)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_image_features_are_the_models_own(tiny, family):
    encoder = tiny(family)
    pixels = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        features = encoder.image_features(pixels)
        output = encoder.model(
            **({"pixel_values": pixels} | (encoder.tokens(TEXTS) if encoder.joint else {}))
        )
    assert features.shape == (3, encoder.feature_dim)
    if encoder.joint:
        torch.testing.assert_close(torch.nn.functional.normalize(features, dim=-1), output.image_embeds)
        assert not torch.allclose(features.norm(dim=-1), torch.ones(3), atol=0.1)
    else:
        torch.testing.assert_close(features, output.last_hidden_state[:, 0])


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_logits_of_scale_and_bias_are_the_models_own(tiny, family):
    encoder = tiny(family)
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        wanted = encoder.model(pixel_values=pixels, **encoder.tokens(TEXTS)).logits_per_image
        images = torch.nn.functional.normalize(encoder.image_features(pixels), dim=-1)
        texts = torch.nn.functional.normalize(encoder.text_features(TEXTS), dim=-1)
        found = encoder.logit_scale * images @ texts.T + encoder.logit_bias
    torch.testing.assert_close(found, wanted)
    assert encoder.logit_scale.shape == encoder.logit_bias.shape == ()


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_texts_do_not_depend_on_their_batch(tiny, family, monkeypatch):
    encoder = tiny(family)
    with torch.no_grad():
        together = encoder.text_features(TEXTS)
        monkeypatch.setattr(module, "TEXT_BATCH", 2)
        torch.testing.assert_close(encoder.text_features(TEXTS), together, atol=1e-5, rtol=1e-5)
        assert encoder.text_features([]).shape == (0, together.shape[1])


def test_clip_pads_to_the_longest_and_masks(tiny):
    tokens = tiny("clip").tokens(["ab", "abcd"])
    assert tokens["input_ids"].shape == (2, 6)
    assert tokens["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6]


def test_siglip_cleans_and_pads_to_the_full_length(tiny):
    encoder = tiny("siglip")
    tokens = encoder.tokens(["A Cat, sitting!"])
    assert tokens.keys() == {"input_ids"}
    assert tokens["input_ids"].shape == (1, 64)
    assert torch.equal(tokens["input_ids"], encoder.tokens(["a cat sitting"])["input_ids"])


@pytest.mark.parametrize(("family", "length"), [("clip", 32), ("siglip", 64)])
def test_long_texts_are_cut_before_the_end_token(tiny, family, length):
    encoder = tiny(family)
    ids = encoder.tokens(["word " * 100])["input_ids"]
    assert ids.shape == (1, length)
    assert ids[0, -1] == encoder.tokenizer.eos_token_id
    assert encoder.text_features(["word " * 100]).isfinite().all()


@pytest.mark.parametrize("family", ["vit", "dinov2", "dinov2_registers"])
def test_a_model_without_text_says_so(tiny, family):
    encoder = tiny(family)
    assert not encoder.joint
    for ask in (
        lambda: encoder.text_features(["a cat"]),
        lambda: encoder.logit_scale,
        lambda: encoder.logit_bias,
        lambda: encoder.tokens(["a cat"]),
    ):
        with pytest.raises(ModelError, match="no text tower"):
            ask()


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_of_the_tiny_models_is_far_from_uniform(tiny, family):
    encoder = tiny(family)
    with torch.no_grad(), watch(encoder, "vision", rows="pool") as seen:
        encoder.image_features(torch.randn(2, 3, 32, 32))
    rows = seen.rows
    entropy = -(rows * rows.clamp_min(1e-30).log()).sum(-1)
    assert entropy.mean() < 0.9 * torch.tensor(rows.shape[-1]).float().log()
