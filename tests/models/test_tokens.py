"""The pooled token behind every block, against transformers' own hidden states."""

import copy

import numpy as np
import pytest
import torch
from eager import pooled
from pooled_rows import examples
from torch import Tensor

from tunescope.methods.vpt_deep import VPTDeep
from tunescope.models.modelmap import module_at
from tunescope.models.tokens import after_blocks, pooled_tokens


@pytest.mark.parametrize("family", ["clip", "siglip", "dinov2_registers"])
def test_of_images(tiny, family):
    encoder, data = tiny(family), examples(3)
    with torch.no_grad(), pooled_tokens(encoder, "vision") as tokens:
        features = encoder.features(data.inputs)
    place = encoder.map.tower("vision")
    tower = module_at(copy.deepcopy(encoder).model.double(), place.path)
    output = tower(pixel_values=encoder.pixels(data.inputs).double(), output_hidden_states=True)
    hidden = output.hidden_states[1:]
    expected = [state.mean(1) if family == "siglip" else state[:, 0] for state in hidden]
    torch.testing.assert_close(tokens.stacked.double(), torch.stack(expected), rtol=1e-3, atol=1e-4)
    assert torch.equal(encoder.features(data.inputs), features)  # and nothing is left behind
    assert tokens.stacked.shape == (3, 3, 32)


@pytest.mark.parametrize("family", ["clip", "siglip", "bert"])
def test_of_texts_in_chunks(tiny, family, monkeypatch):
    from tunescope.models import encoder as module

    monkeypatch.setattr(module, "TEXT_BATCH", 2)
    encoder, texts = tiny(family), ["a red square", "b", "blue"]
    found: list[list[Tensor]] = [[], [], []]
    with torch.no_grad(), pooled_tokens(encoder, "text") as tokens:
        encoder.text_features(texts)
    for text in texts:
        ids = encoder.tokens([text])["input_ids"]
        row = pooled(encoder, "text", ids, 0)

        def keep(layer: int, hidden: Tensor, row: int = row) -> None:
            found[layer].append(hidden[:, row])

        with torch.no_grad(), after_blocks(encoder, encoder.map.tower("text"), keep):
            encoder.text_features([text])
    expected = torch.stack([torch.cat(layer) for layer in found])
    torch.testing.assert_close(tokens.stacked, expected, rtol=1e-4, atol=1e-5)


def test_visual_prompts_are_left_out_of_the_mean(tiny):
    encoder, data = tiny("siglip"), examples(2)
    VPTDeep(prompts=3).install(encoder)
    seen: list[Tensor] = []
    place = encoder.map.tower("vision")
    with torch.no_grad(), after_blocks(encoder, place, lambda layer, hidden: seen.append(hidden)):
        encoder.features(data.inputs)
    with torch.no_grad(), pooled_tokens(encoder, "vision") as tokens:
        encoder.features(data.inputs)
    assert [hidden.shape[1] for hidden in seen] == [19, 19, 16]
    expected = np.stack([hidden[:, -16:].mean(1).numpy() for hidden in seen])
    np.testing.assert_allclose(tokens.stacked.numpy(), expected, rtol=1e-5)
