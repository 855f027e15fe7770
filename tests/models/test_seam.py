"""The seam against plain SDPA (bit for bit) and against eager attention in float64."""

import copy
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import eager as reference
import numpy as np
import pytest
import torch
from families import FAMILIES, TEXT_FAMILIES
from peft import LoraConfig, inject_adapter_in_model
from transformers import DebertaV2Config, DebertaV2Model

from tunescope.errors import ModelError
from tunescope.models import rows as on
from tunescope.models.modelmap import module_at
from tunescope.models.seam import gate, install, watch

TOWERS = [(family, "vision") for family in FAMILIES] + [
    (family, "text") for family in ("clip", "siglip", *TEXT_FAMILIES)
]
TEXTS = ["a cat", "a photo of a somewhat longer dog", "tea"]


def images(count=3, dtype=torch.float32, size=32):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1)).to(dtype)


def forward(encoder, tower):
    return encoder.image_features(images()) if tower == "vision" else encoder.text_features(TEXTS)


def inputs(encoder, tower):
    return {"pixel_values": images()} if tower == "vision" else encoder.tokens(TEXTS)


@pytest.fixture
def encoder(request, tiny):
    return tiny(request.param)


def entropies(block):
    return on.entropy(block.rows)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize(("encoder", "tower"), TOWERS, indirect=["encoder"])
def test_output_is_plain_sdpa_bit_for_bit(encoder, tower, grad):
    with torch.set_grad_enabled(grad):
        check_plain_sdpa(encoder, tower)


def check_plain_sdpa(encoder, tower):
    plain = copy.deepcopy(encoder)
    plain.model.set_attn_implementation("sdpa")
    expected = forward(plain, tower)
    place = encoder.map.tower(tower)
    ones = torch.ones(len(place.blocks), place.heads)
    assert torch.equal(forward(encoder, tower), expected)
    with watch(encoder, tower, values=True), watch(encoder, tower, "all", reduce=entropies):
        assert torch.equal(forward(encoder, tower), expected)
    with watch(encoder, tower, grad=True), gate(encoder, tower, ones):
        assert torch.equal(forward(encoder, tower), expected)


@pytest.mark.parametrize("masked", [True, False])
def test_clip_text_is_plain_sdpa_with_and_without_a_mask(tiny, masked):
    encoder = tiny("clip")
    plain = copy.deepcopy(encoder.model)
    plain.set_attn_implementation("sdpa")
    tokens = encoder.tokens(TEXTS)
    if not masked:
        del tokens["attention_mask"]
    with watch(encoder, "text") as seen:
        out = encoder.model.get_text_features(**tokens).pooler_output
    assert torch.equal(out, plain.get_text_features(**tokens).pooler_output)
    eos = (tokens["input_ids"] == encoder.model.config.text_config.eos_token_id).int().argmax(-1)
    assert (seen.mask.sum(-1) == eos[:, None] + 1).all()


@pytest.mark.parametrize(("encoder", "tower"), TOWERS, indirect=["encoder"])
def test_pooled_rows_and_value_norms_are_eager_s(encoder, tower):
    given = inputs(encoder, tower)
    expected = reference.eager(encoder, tower, **given)
    with watch(encoder, tower, values=True) as seen:
        forward(encoder, tower)
    place = encoder.map.tower(tower)
    layers = (len(place.blocks),) if place.pooling == "probe" else tuple(range(len(place.blocks)))
    assert seen.layers == layers
    assert seen.logits.dtype == torch.float32
    assert not seen.logits.requires_grad
    for i, layer in enumerate(layers):
        for example in range(3):
            query = reference.pooled(encoder, tower, given.get("input_ids"), example)
            row = expected.rows[layer][example, :, query]
            np.testing.assert_allclose(seen.rows[i, example].numpy(), row, atol=1e-5)
            assert ((seen.rows[i, example] == 0).numpy() == (row == 0)).all()
        check_norms(seen.value_norms[i], expected.norms[layer], given)


@pytest.mark.parametrize(("encoder", "tower"), TOWERS, indirect=["encoder"])
def test_all_rows_are_eager_s(encoder, tower):
    expected = reference.eager(encoder, tower, **inputs(encoder, tower))
    with watch(encoder, tower, "all", values=True, reduce=lambda block: block) as seen:
        forward(encoder, tower)
    assert list(seen.reduced) == list(range(3))
    for layer, block in seen.reduced.items():
        queries = block.real.numpy()
        ours, theirs = (
            block.rows.numpy().swapaxes(1, 2)[queries],
            expected.rows[layer].swapaxes(1, 2)[queries],
        )
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        check_norms(block.value_norms, expected.norms[layer], inputs(encoder, tower))
        assert (block.mask.numpy().swapaxes(1, 2)[queries] == (theirs > 0)).all()


def check_norms(found, expected, given):
    """At real tokens: what ModernBERT computes for padding depends on the implementation."""
    real = np.broadcast_to(given.get("attention_mask", torch.ones(1, 1))[:, None].numpy() > 0, expected.shape)
    np.testing.assert_allclose(found.numpy()[real], expected[real], rtol=1e-4)


def test_real_tokens_end_at_the_end_of_text(tiny):
    encoder = tiny("clip")
    with watch(encoder, "text", "all", reduce=lambda block: block.real) as seen:
        encoder.text_features(TEXTS)
    assert torch.equal(seen.reduced[0], encoder.tokens(TEXTS)["attention_mask"].bool())


def test_the_row_is_the_one_that_clip_pools_by_its_new_rule_and_its_old(tiny):
    encoder = tiny("clip")
    ids = encoder.tokens(TEXTS)["input_ids"]
    text: Any = module_at(encoder.model, "text_model")
    for eos in (text.config.eos_token_id, 2):
        text.eos_token_id = text.config.eos_token_id = eos
        with watch(encoder, "text") as seen:
            out = text(ids)
        position = seen.mask.sum(-1)[0, :, 0] - 1  # causal: the row sees as many keys as stand up to it
        assert torch.equal(out.last_hidden_state[torch.arange(3), position], out.pooler_output)


def test_two_encoders_at_once_do_not_mix(tiny):
    one, other = tiny("vit"), tiny("vit")
    with torch.no_grad():
        module_at(other.model, other.map.tower("vision").blocks[0].q).get_parameter("weight").mul_(2)
    alone = []
    for encoder in (one, other):
        with watch(encoder, "vision") as seen:
            forward(encoder, "vision")
        alone.append(seen.logits)
    with (
        watch(one, "vision") as first,
        watch(other, "vision") as second,
        gate(other, "vision", torch.ones(3, 4)),
    ):
        forward(other, "vision")
        forward(one, "vision")
    assert torch.equal(first.logits, alone[0])
    assert torch.equal(second.logits, alone[1])
    assert not torch.equal(alone[0], alone[1])


def watched(encoder, tower, *towers_called):
    with watch(encoder, tower) as seen:
        for called in towers_called:
            forward(encoder, called)
    return seen


def test_watch_counts_its_calls(tiny):
    encoder = tiny("clip")
    with pytest.raises(ModelError, match=r"did not call the attention of layers \[0, 1, 2\]"):
        watched(encoder, "vision", "text")
    with pytest.raises(ModelError, match=r"layer 0 .* twice"):
        watched(encoder, "vision", "vision", "text", "vision")
    with watch(encoder, "vision") as seen:
        with pytest.raises(ModelError, match="did not call"):
            seen.rows  # noqa: B018, reading is what raises
        forward(encoder, "vision")
    with pytest.raises(ModelError, match="values=True"):
        seen.value_norms  # noqa: B018
    assert not any("_tunescope_listeners" in module.__dict__ for module in encoder.model.modules())


def test_watch_refuses_what_it_cannot_see(tiny):
    encoder = tiny("clip")
    with pytest.raises(ModelError, match="reduce"), watch(encoder, "vision", "all"):
        pass
    with pytest.raises(ModelError, match="input_ids"), watch(encoder, "text"):
        encoder.model.text_model(inputs_embeds=torch.zeros(1, 4, 32))
    encoder.model.set_attn_implementation("sdpa")
    with (
        pytest.raises(ModelError, match=r"self_attn .* 'sdpa', expected 'tunescope'"),
        watch(encoder, "vision"),
    ):
        pass


def test_install_refuses_attention_that_does_not_dispatch(tiny):
    config = DebertaV2Config(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16, vocab_size=20
    )
    model = DebertaV2Model(config)
    vit = tiny("vit").map
    place = vit.tower("vision")
    blocks = tuple(
        replace(block, attention=f"encoder.layer.{i}.attention.self") for i, block in enumerate(place.blocks)
    )
    vision = replace(vit, towers={"vision": replace(place, blocks=blocks)})
    with pytest.raises(ModelError, match="DisentangledSelfAttention"):
        install(model, vision)


@pytest.mark.parametrize(("encoder", "tower"), TOWERS, indirect=["encoder"])
def test_a_gate_of_zero_is_the_output_projection_s_columns_at_zero(encoder, tower):
    place = encoder.map.tower(tower)
    cut = copy.deepcopy(encoder)
    gates = torch.ones(len(place.blocks), place.heads)
    for layer, head in [(0, 1), (2, 3)]:
        gates[layer, head] = 0
        columns = slice(head * place.head_dim, (head + 1) * place.head_dim)
        with torch.no_grad():
            module_at(cut.model, place.blocks[layer].o).get_parameter("weight")[:, columns] = 0
    with gate(encoder, tower, gates):
        gated = forward(encoder, tower)
    assert torch.equal(gated, forward(cut, tower))
    assert not torch.equal(gated, forward(encoder, tower))


def test_gate_gradients_equal_finite_differences(tiny):
    encoder = tiny("clip")
    encoder.model.double()
    x = images(dtype=torch.float64)
    weights = torch.randn(3, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def loss(gates):
        with gate(encoder, "vision", gates):
            return (encoder.image_features(x).tanh() * weights).sum()

    each = torch.ones(3, 3, 4, dtype=torch.float64, requires_grad=True)
    (per_example,) = torch.autograd.grad(loss(each), each)
    shared = torch.ones(3, 4, dtype=torch.float64, requires_grad=True)
    (summed,) = torch.autograd.grad(loss(shared), shared)
    torch.testing.assert_close(per_example.sum(0), summed)
    with torch.no_grad():
        for layer, head in [(0, 0), (1, 2), (2, 3)]:
            step = torch.zeros_like(shared)
            step[layer, head] = 1e-5
            difference = (loss(shared + step) - loss(shared - step)) / 2e-5
            assert abs(difference - summed[layer, head]) < 1e-8
            assert summed[layer, head].abs() > 1e-4


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (1, 2, 3, 4)])
def test_gate_refuses_another_shape(tiny, shape):
    with (
        pytest.raises(ModelError, match=r"expected \(3, 4\)"),
        gate(tiny("vit"), "vision", torch.ones(shape)),
    ):
        pass


def test_gate_refuses_another_batch(tiny):
    encoder = tiny("vit")
    with (
        pytest.raises(ModelError, match="gates for 2 examples met a batch of 3"),
        gate(encoder, "vision", torch.ones(2, 3, 4)),
    ):
        forward(encoder, "vision")
    assert torch.equal(forward(encoder, "vision"), forward(tiny("vit"), "vision"))


def test_watch_and_gate_together_see_the_gated_model(tiny):
    encoder = tiny("vit")
    gates = torch.full((3, 4), 0.5)
    cut = copy.deepcopy(encoder)
    with torch.no_grad():
        for block in cut.map.tower("vision").blocks:
            module_at(cut.model, block.o).get_parameter("weight").mul_(0.5)
    with (
        gate(encoder, "vision", gates),
        watch(encoder, "vision") as one,
        watch(encoder, "vision", "all", reduce=entropies) as every,
    ):
        forward(encoder, "vision")
    with watch(cut, "vision") as expected:
        forward(cut, "vision")
    torch.testing.assert_close(one.logits, expected.logits)
    torch.testing.assert_close(every.reduced[1][:, :, 0], on.entropy(one.rows)[1])


@pytest.mark.parametrize("autocast", [False, True])
def test_after_lora_and_under_autocast(tiny, autocast):
    encoder = tiny("clip")
    target = r"vision_model\..*\.(q_proj|v_proj)"
    inject_adapter_in_model(LoraConfig(r=2, target_modules=target, init_lora_weights=False), encoder.model)
    encoder.model.eval()
    plain = copy.deepcopy(encoder)
    plain.model.set_attn_implementation("sdpa")
    given = {"pixel_values": images()}
    cast = torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext()
    with torch.no_grad(), cast, watch(encoder, "vision") as seen:
        out = forward(encoder, "vision")
        assert torch.equal(out, forward(plain, "vision"))
    expected = np.stack([rows[:, :, 0] for rows in reference.eager(encoder, "vision", **given).rows])
    assert seen.logits.dtype == torch.float32
    np.testing.assert_allclose(seen.rows.numpy(), expected, atol=0.1 if autocast else 1e-5)


@pytest.mark.parametrize(("encoder", "tower"), TOWERS, indirect=["encoder"])
def test_a_penalty_s_gradient_is_eager_s(encoder, tower):
    """Both in float64: what differs is the way, not the rounding."""
    given = inputs(encoder, tower)
    place = encoder.map.tower(tower)
    if place.pooling == "probe":
        expected = _probe_penalty(encoder, given["pixel_values"].double())
    else:
        model = reference.eager_model(encoder)
        given = {name: x.double() if x.is_floating_point() else x for name, x in given.items()}
        attentions = module_at(model, place.path)(**given, output_attentions=True).attentions
        total = torch.zeros((), dtype=torch.float64)
        for attention in attentions:
            for example in range(3):
                query = reference.pooled(encoder, tower, given.get("input_ids"), example)
                total = total + torch.special.entr(attention[example, :, query].clamp_min(1e-300)).sum()
        expected = _gradients(total, model)
    encoder.model.double()
    with watch(encoder, tower, grad=True) as seen:
        if tower == "vision":
            encoder.image_features(images(dtype=torch.float64))
        else:
            encoder.text_features(TEXTS)
        found = _gradients(on.entropy(seen.rows).sum(), encoder.model)
    assert found.keys() == expected.keys()
    # Eager code takes the softmax in float32, even in a float64 model.
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-6 * largest)


def _probe_penalty(encoder, pixels):
    model = reference.eager_model(encoder)
    hidden = model.vision_model(pixel_values=pixels).last_hidden_state
    head = model.vision_model.head
    rows = head.attention(head.probe.repeat(3, 1, 1), hidden, hidden, average_attn_weights=False)[1]
    return _gradients(torch.special.entr(rows).sum(), model)


def _gradients(loss, model):
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {name: g for name, g in zip(names, gradients, strict=True) if g is not None}


def test_gradient_checkpointing(tiny):
    def penalty(reentrant):
        encoder = tiny("vit")
        if reentrant is not None:
            encoder.model.activation_checkpointing_enable({"use_reentrant": reentrant})
        encoder.model.train()
        pixels = images().requires_grad_()
        with watch(encoder, "vision", grad=True) as seen:
            features = encoder.image_features(pixels)
            (features.tanh().sum() + on.entropy(seen.rows).sum()).backward()
        return {name: p.grad for name, p in encoder.model.named_parameters() if p.grad is not None}

    plain, checkpointed = penalty(None), penalty(False)
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient)
    with pytest.raises(ModelError, match="use_reentrant"):
        penalty(True)
