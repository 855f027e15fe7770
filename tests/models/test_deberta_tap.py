"""What is particular to DeBERTa's seam; all that it shares with the others is in test_seam.py."""

import copy

import eager as reference
import numpy as np
import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model

from tunescope.models.modelmap import module_at
from tunescope.models.seam import gate, install, watch

TEXTS = ["a cat", "a somewhat longer dog", "tea"]


def hooks(encoder) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in encoder.model.modules())


@pytest.fixture
def encoder(tiny):
    return tiny("deberta")


def test_dropout_of_probabilities_is_not_in_the_rows(encoder):
    with torch.no_grad(), watch(encoder, "text") as quiet:
        encoder.text_features(TEXTS)
    first = encoder.map.tower("text").blocks[0].attention
    module_at(encoder.model, f"{first}.dropout").train()
    with torch.no_grad(), watch(encoder, "text") as seen:
        encoder.text_features(TEXTS)
    assert torch.equal(seen.rows[0], quiet.rows[0])
    assert not torch.equal(seen.rows[1], quiet.rows[1])  # what it mixed for the next block was dropped


def test_values_and_rows_are_those_of_an_adapter(encoder):
    inject_adapter_in_model(
        LoraConfig(r=2, target_modules=["query_proj", "value_proj"], init_lora_weights=False), encoder.model
    )
    encoder.model.eval()
    expected = reference.eager(encoder, "text", **encoder.tokens(TEXTS))
    with torch.no_grad(), watch(encoder, "text", values=True) as seen:
        encoder.text_features(TEXTS)
    rows = np.stack([found[:, :, 0] for found in expected.rows])
    np.testing.assert_allclose(seen.rows.numpy(), rows, atol=1e-5)
    np.testing.assert_allclose(seen.value_norms.numpy(), np.stack(expected.norms), rtol=1e-4)


def test_a_gate_acts_for_each_example_and_so_does_a_copy_of_the_model(encoder):
    gates = torch.rand(3, 3, 4, generator=torch.Generator().manual_seed(0))
    twin = copy.deepcopy(encoder)
    with torch.no_grad():
        base = encoder.text_features(TEXTS)
        with gate(twin, "text", gates):
            together = twin.text_features(TEXTS)
            assert torch.equal(encoder.text_features(TEXTS), base)
        with gate(encoder, "text", gates[1]):
            torch.testing.assert_close(encoder.text_features(TEXTS)[1], together[1], atol=1e-6, rtol=0)
    assert not torch.allclose(together, base, atol=1e-3)


def test_a_forward_pass_that_raises_leaves_nothing_behind(encoder):
    idle = hooks(encoder)
    install(encoder.model, encoder.map)
    assert hooks(encoder) == idle  # once more changes nothing
    projection = module_at(encoder.model, encoder.map.tower("text").blocks[1].v)

    def fail(module, args):
        raise RuntimeError("no memory")

    handle = projection.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="no memory"), watch(encoder, "text"):
        encoder.text_features(TEXTS)
    handle.remove()
    with torch.no_grad(), watch(encoder, "text") as seen:
        encoder.text_features(TEXTS)
    torch.testing.assert_close(seen.rows.sum(-1), torch.ones(3, 3, 4))
    assert hooks(encoder) == idle


def test_an_underflown_probability_is_not_a_masked_key(encoder):
    with torch.no_grad():
        for block in encoder.map.tower("text").blocks:
            module_at(encoder.model, block.q).get_parameter("weight").mul_(100)
        with watch(encoder, "text") as seen:
            encoder.text_features(TEXTS)
    assert (seen.rows == 0).any()
    real = encoder.tokens(TEXTS)["attention_mask"].bool()
    assert torch.equal(seen.mask, real[None, :, None].expand_as(seen.mask))
