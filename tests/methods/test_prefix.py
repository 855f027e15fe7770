import copy
import math
from contextlib import nullcontext
from statistics import fmean

import by_hand
import naive_attention
import numpy as np
import pytest
import torch
from colours import examples
from families import FAMILIES, TEXT_FAMILIES

from tunescope.errors import MethodError, StudyError
from tunescope.methods.prefix import Prefix
from tunescope.models import rows as on
from tunescope.models.modelmap import module_at
from tunescope.models.seam import gate, watch
from tunescope.models.tap import PREFIX, attention
from tunescope.probes.attention import AttentionProbe
from tunescope.probes.probe import Subject

P = 3
TEXTS = ["a cat", "a photo of a somewhat longer dog", "tea"]
TOWERS = [(family, "vision") for family in FAMILIES]
TOWERS += [(family, "text") for family in ("clip", "siglip", *TEXT_FAMILIES) if family != "deberta"]
LAYERS = {"vit": "layers.{}.attention", "clip": "vision_model.encoder.layers.{}.self_attn"}
every_tower = pytest.mark.parametrize(("family", "tower"), TOWERS)


def at_work(encoder, tower="vision", **settings):
    """A prefix that matters, the model in float32."""
    torch.manual_seed(0)
    installed = Prefix(tokens=P, **settings).install(encoder, tower)
    by_hand.stirred(installed)
    encoder.model.float()
    return installed


def inputs(encoder, tower):
    return {"pixel_values": by_hand.pixels()} if tower == "vision" else encoder.tokens(TEXTS)


def features(encoder, tower):
    """In the model's own precision."""
    if tower == "text":
        return encoder.text_features(TEXTS)
    return encoder.image_features(by_hand.pixels().to(encoder.model.dtype))


def prefixed(state, name):
    """Keys and values of every layer with the saved prefix in front."""

    def change(layer, k, v):
        ours = [
            state[f"{name.format(layer)}.prefix.{each}"].double().view(P, 4, 8).transpose(0, 1)
            for each in ("key", "value")
        ]
        keys, values = (each[None].expand(len(k), -1, -1, -1) for each in ours)
        return torch.cat([keys, k], 2), torch.cat([values, v], 2)

    return change


@pytest.mark.parametrize("family", LAYERS)
def test_images_it_is_the_forward_pass_written_out_by_hand(tiny, family):
    encoder = tiny(family)
    model = by_hand.plain(encoder)
    state = by_hand.stirred(Prefix(tokens=P).install(encoder))
    keys = prefixed(state, LAYERS[family])
    expected, rows, _ = by_hand.forward(model, by_hand.pixels(), keys=keys)
    with torch.no_grad(), watch(encoder, "vision") as seen:
        found = encoder.image_features(by_hand.pixels())
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(seen.rows, torch.stack(rows)[:, :, :, 0], atol=1e-12, rtol=1e-12)
    untouched, *_ = by_hand.forward(model, by_hand.pixels())
    assert (found - untouched).abs().max() > 0.1


@pytest.mark.parametrize("masked", [True, False])
def test_texts_it_is_the_causal_forward_pass_written_out_by_hand(tiny, masked):
    """Padded, with a mask; or of one length without one, where SDPA would be told `is_causal`."""
    encoder = tiny("clip")
    model = by_hand.plain(encoder)
    state = by_hand.stirred(Prefix(tokens=P).install(encoder, "text"))
    tokens = encoder.tokens(TEXTS if masked else ["cat", "tea"])
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    assert bool((mask == 0).any()) == masked
    keys = prefixed(state, "text_model.encoder.layers.{}.self_attn")
    own = by_hand.causal(mask)
    seen = torch.cat([own.new_ones(*own.shape[:2], P), own], -1)
    expected, *_ = by_hand.clip_text(model, ids, seen, keys=keys)
    given = tokens if masked else {"input_ids": ids}
    found = encoder.model.get_text_features(**given).pooler_output
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    untouched, *_ = by_hand.clip_text(model, ids, own)
    assert (found - untouched).abs().max() > 0.1


@every_tower
def test_on_every_family_features_and_rows_are_those_of_attention_written_out(tiny, family, tower):
    encoder = tiny(family)
    at_work(encoder, tower, blocks="1-")
    place = encoder.map.tower(tower)
    model = naive_attention.model(encoder)
    given = inputs(encoder, tower)
    module_at(model, place.path)(**given)
    expected = naive_attention.logits(model, encoder, tower)
    encoder.model.double()
    with torch.no_grad(), watch(encoder, tower, "all", values=True, reduce=lambda block: block) as seen:
        features(encoder, tower)
    for layer, block in seen.reduced.items():
        own = expected[layer].softmax(-1)
        keys = block.rows.shape[-1]
        assert keys == P + block.rows.shape[-2]
        queries = block.real
        found = block.rows.transpose(1, 2)[queries][..., keys - own.shape[-1] :]
        torch.testing.assert_close(found, own.transpose(1, 2)[queries], atol=1e-6, rtol=0)
        assert bool(block.mask[..., :P].all()) == (layer > 0)  # hidden from nobody; in no row of block 0
        assert bool((block.value_norms[..., :P] > 0).all()) == (layer > 0)
    found = features(encoder, tower)
    other = copy.deepcopy(encoder)
    other.model = model
    torch.testing.assert_close(found, features(other, tower), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("family", "tower"), [("vit", "vision"), ("clip", "text"), ("modernbert", "text")])
def test_penalties_and_gates_have_the_gradients_of_attention_written_out(tiny, family, tower):
    """A penalty on the pooled row without the prefix, and the features, under gates on the heads."""
    encoder = tiny(family)
    installed = at_work(encoder, tower)
    encoder.model.double()
    place = encoder.map.tower(tower)
    given = inputs(encoder, tower)
    gates = torch.rand(3, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    model = naive_attention.model(encoder)
    with torch.no_grad():
        for block, gated in zip(place.blocks, gates, strict=True):
            module_at(model, block.o).get_parameter("weight").mul_(gated.repeat_interleave(8))
    wanted = {name: model.get_parameter(name) for name in installed.trainable}
    for parameter in wanted.values():
        parameter.requires_grad_()
    other = copy.copy(encoder)
    other.model = model
    total = features(other, tower).tanh().sum()
    query = [0] * 3
    if place.pooling == "eos":
        eos = encoder.model.config.text_config.eos_token_id
        query = [row.index(eos) for row in given["input_ids"].tolist()]
    for each in naive_attention.logits(model, encoder, tower):
        pooled = torch.stack([each[i, :, q, P + place.prefix_tokens :] for i, q in enumerate(query)])
        total = total + torch.special.entr(pooled.softmax(-1).clamp_min(1e-300)).sum()
    expected = torch.autograd.grad(total, list(wanted.values()))
    with gate(encoder, tower, gates), watch(encoder, tower, grad=True) as seen:
        value = features(encoder, tower).tanh().sum()
    assert seen.prefix_tokens == P + place.prefix_tokens
    value = value + on.entropy(seen.logits[..., seen.prefix_tokens :].softmax(-1)).sum()
    torch.testing.assert_close(value, total, atol=1e-6, rtol=0)
    found = torch.autograd.grad(value, list(installed.trainable.values()))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
        assert theirs.abs().max() > 1e-4


def subject(encoder, tower="vision"):
    return Subject(encoder, None, tower, {"probe": examples(6, "probe")})


def metrics(encoder, tower="vision", rows="pool"):
    """{(metric, layer, head): value}."""
    probe = AttentionProbe.parse({"kind": "attention", "rows": rows}, "test")
    measured = probe.measure(subject(encoder, tower))
    if tower == "vision":
        assert measured.arrays["attention.rollout"].shape == (6, 4, 4)
        np.testing.assert_allclose(measured.arrays["attention.rollout"].sum((1, 2)), 1, rtol=1e-5)
    return {(row.metric.removeprefix("attention."), row.layer, row.head): row.value for row in measured.rows}


@pytest.mark.parametrize("rows", ["pool", "all"])
def test_metrics_are_of_patches_renormalised_and_prefixes_are_sinks(tiny, rows):
    encoder = tiny("vit")
    model = by_hand.plain(encoder)
    state = at_work(encoder).state_dict()
    pixels = encoder.pixels(examples(6, "probe").inputs).double()
    _, attention, _ = by_hand.forward(model, pixels, keys=prefixed(state, LAYERS["vit"]))
    found = metrics(encoder, rows=rows)
    place = torch.tensor([[8.0 * (i // 4), 8.0 * (i % 4)] for i in range(16)], dtype=torch.float64)
    apart = (place[:, None] - place).norm(dim=-1)
    for layer, each in enumerate(attention):
        for head in range(4):
            entropies, sinks = [], []
            for example in range(6):
                for query in range(1, 1 + 16) if rows == "all" else [0]:
                    row = each[example, head, query].tolist()
                    sinks.append(sum(row[: P + 1]))
                    patches = [a / sum(row[P + 1 :]) for a in row[P + 1 :]]
                    entropies.append(-sum(a * math.log(a) for a in patches))
            assert found["entropy", layer, head] == pytest.approx(fmean(entropies), abs=1e-5)
            assert found["sink_mass", layer, head] == pytest.approx(fmean(sinks), abs=1e-5)
            between = each[:, head, 1:, P + 1 :]
            far = (between / between.sum(-1, keepdim=True) * apart).sum(-1).mean().item()
            assert found["distance", layer, head] == pytest.approx(far, rel=1e-5)


@pytest.mark.parametrize("rows", ["pool", "all"])
def test_metrics_of_texts_are_of_their_own_tokens(tiny, rows):
    """CLIP's [BOS] sees one token of its own: it has no entropy, prefix or not."""
    encoder = tiny("clip")
    model = by_hand.plain(encoder)
    state = at_work(encoder, "text").state_dict()
    tokens = encoder.tokens(["a red square.", "a green square.", "a blue square."])
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    own = by_hand.causal(mask)
    seen = torch.cat([own.new_ones(*own.shape[:2], P), own], -1)
    keys = prefixed(state, "text_model.encoder.layers.{}.self_attn")
    _, attention, _ = by_hand.clip_text(model, ids, seen, keys=keys)
    found = metrics(encoder, "text", rows)
    for layer, each in enumerate(attention):
        for head in range(4):
            entropies, sinks = [], []
            for example, length in enumerate(mask.sum(-1).tolist()):
                these = []
                for query in range(1, length) if rows == "all" else [length - 1]:
                    row = each[example, head, query, : P + query + 1].tolist()
                    these.append((sum(row[:P]), [a / sum(row[P:]) for a in row[P:]]))
                sinks.append(fmean(mass for mass, _ in these))
                entropies.append(fmean(-sum(a * math.log(a) for a in rest) for _, rest in these))
            assert found["entropy", layer, head] == pytest.approx(fmean(entropies), abs=1e-5)
            assert found["sink_mass", layer, head] == pytest.approx(fmean(sinks), abs=1e-5)


@pytest.mark.parametrize("tower", ["vision", "text"])
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_taken_off_the_map_and_every_metric_are_the_base_s(tiny, family, tower):
    base = tiny(family)
    before, expected = base.map, metrics(base, tower)
    encoder = tiny(family)
    installed = at_work(encoder, tower)
    during = encoder.map
    assert during.tower(tower).leading_keys == before.tower(tower).prefix_tokens + P
    active = metrics(encoder, tower)
    assert active.keys() >= expected.keys()
    assert active != expected
    with installed.without():
        with installed.without():
            assert metrics(encoder, tower) == expected
        assert encoder.map == before
    assert encoder.map == during
    assert metrics(encoder, tower) == active


@every_tower
@torch.no_grad()
def test_taken_off_features_are_the_base_s_bit_for_bit(tiny, family, tower):
    encoder = tiny(family)
    # torch's own attention, in SigLIP's pooling head, rounds otherwise where weights need gradients
    encoder.model.double().requires_grad_(False)
    expected = features(encoder, tower)
    installed = Prefix(tokens=P).install(encoder, tower)
    by_hand.stirred(installed)
    assert not torch.equal(features(encoder, tower), expected)
    with installed.without():
        assert torch.equal(features(encoder, tower), expected)


def test_the_prefix_is_seen_whatever_the_mask_is(tiny):
    """None, causal, boolean and float masks of one attention module, against the formula."""
    encoder = tiny("vit")
    at_work(encoder)
    encoder.model.double()
    module = module_at(encoder.model, encoder.map.tower("vision").blocks[0].attention)
    written_out = naive_attention.model(encoder)
    other = module_at(written_out, encoder.map.tower("vision").blocks[0].attention)
    generator = torch.Generator().manual_seed(5)
    q, k, v = (torch.randn(2, 4, 6, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    boolean = torch.rand(2, 1, 6, 6, generator=generator) > 0.4
    padding = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])[:, None, None]
    biases = torch.randn(1, 4, 6, 6, generator=generator, dtype=torch.float64)
    for mask, causal in [(None, False), (None, True), (boolean, False), (padding, False), (biases, False)]:
        found, _ = attention(module, q, k, v, mask, scaling=0.3, is_causal=causal)
        expected, _ = naive_attention.attention(other, q, k, v, mask, scaling=0.3, is_causal=causal)
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    one, _ = attention(module, q[:, :, :1], k, v, None, is_causal=True)  # a single query sees every key
    expected, _ = naive_attention.attention(other, q[:, :, :1], k, v, None, is_causal=False)
    torch.testing.assert_close(one, expected, atol=1e-12, rtol=1e-12)


def test_it_starts_normal_with_a_deviation_of_two_hundredths(tiny):
    torch.manual_seed(0)
    installed = Prefix(tokens=100).install(tiny("dinov2"))
    values = torch.cat([value.flatten() for value in installed.state_dict().values()])
    assert len(values) == 3 * 2 * 100 * 32
    assert values.std().item() == pytest.approx(0.02, rel=0.02)
    assert abs(values.mean().item()) < 5e-4


def test_the_blocks_that_were_chosen(tiny):
    installed = Prefix(tokens=2, blocks="1-").install(tiny("bert"), "text")
    assert {name.split(".")[2] for name in installed.trainable} == {"1", "2"}


def test_in_half_precision_it_is_nearly_the_same(tiny):
    encoder = tiny("clip")
    at_work(encoder)
    with torch.no_grad():
        expected = features(encoder, "vision")
        with torch.autocast("cpu", torch.bfloat16):
            found = features(encoder, "vision")
    assert (found.float() - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("watched", [True, False])
def test_with_checkpointed_gradients_they_are_the_same(tiny, watched):
    found = []
    for checkpointed in (False, True):
        encoder = tiny("vit")
        installed = at_work(encoder)
        encoder.model.double()
        if checkpointed:
            encoder.model.activation_checkpointing_enable({"use_reentrant": False})
        encoder.model.train()
        with watch(encoder, "vision", grad=True) if watched else nullcontext() as seen:
            loss = features(encoder, "vision").square().sum()
            (loss if seen is None else loss + on.entropy(seen.rows).sum()).backward()
        found.append({name: p.grad for name, p in installed.trainable.items()})
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_copy_of_the_model_acts_with_its_own_prefix(tiny):
    encoder = tiny("clip")
    torch.manual_seed(0)
    installed = Prefix(tokens=P).install(encoder)
    other = copy.deepcopy(encoder)
    before = features(encoder, "vision")
    by_hand.stirred(installed)
    assert torch.equal(features(other, "vision"), before)


def test_attention_that_takes_no_other_keys_is_refused(tiny):
    encoder = tiny("deberta")
    names = [name for name, _ in encoder.model.named_parameters()]
    with pytest.raises(MethodError, match=r"prefix: attention in .* \(deberta-v2\) .* use lora or houlsby"):
        Prefix().install(encoder, "text")
    assert [name for name, _ in encoder.model.named_parameters()] == names


def test_it_is_not_installed_twice(tiny):
    encoder = tiny("vit")
    Prefix().install(encoder)
    with pytest.raises(MethodError, match=rf"attention already has '{PREFIX}'"):
        Prefix().install(encoder)


def test_blocks_that_are_not_there(tiny):
    with pytest.raises(MethodError, match="the tower has blocks 0 to 2"):
        Prefix(blocks="1-3").install(tiny("vit"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokens": 0}, "tokens.*greater than or equal to 1, got 0"),
        ({"blocks": "first"}, "blocks.*pattern.*got 'first'"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(StudyError, match=message):
        Prefix.parse({"kind": "prefix", **settings}, "adapt")
