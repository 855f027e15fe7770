import copy
import math
from statistics import fmean

import by_hand
import eager as reference
import numpy as np
import pytest
import torch
from colours import examples
from families import FAMILIES

from tunescope.errors import MethodError, StudyError
from tunescope.methods.vpt_deep import VPTDeep
from tunescope.methods.vpt_shallow import VPTShallow
from tunescope.models.seam import watch
from tunescope.objectives.entropy_floor import mean_entropy
from tunescope.probes.attention import AttentionProbe
from tunescope.probes.blocks import states
from tunescope.probes.probe import Subject

P = 3
METHODS = {"shallow": VPTShallow(prompts=P), "deep": VPTDeep(prompts=P)}
LAYERS = {"vit": "layers", "clip": "vision_model.encoder.layers"}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))


def at_work(method, encoder):
    """The method with prompts that matter, the model in float32."""
    torch.manual_seed(0)
    installed = method.install(encoder)
    by_hand.stirred(installed)
    encoder.model.float()
    return installed


def prompted(state, family, deep):
    """What enters each block, written out: [CLS], prompts, patches."""

    def tokens(layer, x):
        if layer and not deep:
            return x
        ours = state[f"{LAYERS[family]}.{layer}.prompts.weight"].double().expand(len(x), P, 32)
        return torch.cat([x[:, :1], ours, x[:, 1 + (P if layer else 0) :]], 1)

    return tokens


def without_prompts(x):
    return torch.cat([x[:, :1], x[:, 1 + P :]], 1)


@pytest.mark.parametrize("family", LAYERS)
@every_method
def test_it_is_the_forward_pass_written_out_by_hand(tiny, family, method):
    encoder = tiny(family)
    model = by_hand.plain(encoder)
    state = by_hand.stirred(method.install(encoder))
    assert len(state) == (3 if method.deep else 1)
    expected, *_ = by_hand.forward(
        model, by_hand.pixels(), tokens=prompted(state, family, method.deep), end=without_prompts
    )
    with torch.no_grad():
        found = encoder.image_features(by_hand.pixels())
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    untouched, *_ = by_hand.forward(model, by_hand.pixels())
    assert (found - untouched).abs().max() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
@every_method
def test_what_follows_the_blocks_sees_no_prompts(tiny, family, method):
    encoder = tiny(family)
    place = encoder.map.tower("vision")
    seen = []
    encoder.model.get_submodule(place.final[0]).register_forward_pre_hook(
        lambda _, args: seen.append(args[0])
    )
    for _ in range(2):
        encoder.image_features(by_hand.pixels().float())
        if len(seen) == 1:
            at_work(method, encoder)
    assert seen[0].shape == seen[1].shape
    assert not torch.equal(seen[0], seen[1])


@every_method
def test_they_start_uniform_within_xavier_s_bound(tiny, method):
    torch.manual_seed(0)
    installed = type(method)(prompts=100).install(tiny("dinov2"))
    values = torch.cat([value.flatten() for value in installed.state_dict().values()])
    bound = math.sqrt(6 / (3 * 8 * 8 + 32))
    assert 0.99 * bound < values.abs().max() <= bound
    assert values.var().item() == pytest.approx(bound**2 / 3, rel=0.05)


@every_method
def test_prompts_stand_after_registers(tiny, method):
    encoder = tiny("dinov2_registers")
    before = encoder.map.tower("vision").prefix_tokens
    installed = at_work(method, encoder)
    entered = []
    encoder.model.encoder.layer[2].norm1.register_forward_hook(lambda _, args, out: entered.append(args[0]))
    encoder.image_features(by_hand.pixels().float())
    assert entered[0].shape[1] == before + P + 16
    if method.deep:
        ours = installed.trainable["encoder.layer.2.prompts.weight"]
        assert torch.equal(entered[0][1, before : before + P], ours)


@pytest.mark.parametrize("family", FAMILIES)
@every_method
def test_rows_of_attention_are_eager_s(tiny, family, method):
    """SigLIP's pooling head sees the patches alone: prompts are masked in its row."""
    encoder = tiny(family)
    at_work(method, encoder)
    place, pixels = encoder.map.tower("vision"), by_hand.pixels().float()
    expected = reference.eager(encoder, "vision", pixel_values=pixels)
    with torch.no_grad(), watch(encoder, "vision", values=True) as seen:
        encoder.image_features(pixels)
    assert seen.rows.shape[-1] == place.prefix_tokens + 16
    for i, layer in enumerate(seen.layers):
        missing = place.prefix_tokens + 16 - expected.rows[layer].shape[-1]
        assert missing == (P if place.pooling == "probe" else 0)
        assert (seen.rows[i, ..., :missing] == 0).all()
        assert not seen.mask[i, ..., :missing].any()
        found = seen.rows[i, ..., missing:].numpy()
        np.testing.assert_allclose(found, expected.rows[layer][:, :, 0], atol=1e-5)
        np.testing.assert_allclose(
            seen.value_norms[i, ..., missing:].numpy(), expected.norms[layer], rtol=1e-4
        )


def metrics(encoder, rows="pool"):
    """{(metric, layer, head): value} of six images of three colours."""
    subject = Subject(encoder, None, "vision", {"probe": examples(6, "probe")})
    probe = AttentionProbe.parse({"kind": "attention", "rows": rows}, "test")
    measured = probe.measure(subject)
    assert measured.arrays["attention.rollout"].shape == (6, 4, 4)
    np.testing.assert_allclose(measured.arrays["attention.rollout"].sum((1, 2)), 1, rtol=1e-5)
    return {(row.metric.removeprefix("attention."), row.layer, row.head): row.value for row in measured.rows}


@pytest.mark.parametrize("rows", ["pool", "all"])
@every_method
def test_metrics_are_of_patches_renormalised_and_prompts_are_sinks(tiny, method, rows):
    encoder = tiny("vit")
    model = by_hand.plain(encoder)
    state = at_work(method, encoder).state_dict()
    pixels = encoder.pixels(examples(6, "probe").inputs).double()
    tokens = prompted(state, "vit", method.deep)
    _, attention, _ = by_hand.forward(model, pixels, tokens=tokens, end=without_prompts)
    found = metrics(encoder, rows)
    assert {name for name, *_ in found} >= {"entropy", "sink_mass", "distance", "erf95", "head_diversity"}
    for layer, each in enumerate(attention):
        for head in range(4):
            entropies, sinks = [], []
            for example in range(6):
                for query in range(1 + P, 1 + P + 16) if rows == "all" else [0]:
                    row = each[example, head, query].tolist()
                    sinks.append(sum(row[: 1 + P]))
                    patches = [a / sum(row[1 + P :]) for a in row[1 + P :]]
                    entropies.append(-sum(a * math.log(a) for a in patches))
            assert found["entropy", layer, head] == pytest.approx(fmean(entropies), abs=1e-5)
            assert found["sink_mass", layer, head] == pytest.approx(fmean(sinks), abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@every_method
def test_taken_off_the_map_and_every_metric_are_the_base_s(tiny, family, method):
    base = tiny(family)
    before, expected = base.map, metrics(base)
    encoder = tiny(family)
    installed = at_work(method, encoder)
    during = encoder.map
    count = before.tower("vision").prefix_tokens
    assert during.tower("vision").prefix_tokens == count + P
    active = metrics(encoder)
    assert active.keys() >= expected.keys()
    assert active != expected
    with installed.without():
        with installed.without():
            assert metrics(encoder) == expected
        assert encoder.map == before
    assert encoder.map == during
    assert metrics(encoder) == active


@every_method
def test_norms_of_patches_are_those_of_patches(tiny, method):
    encoder = tiny("vit")
    model = by_hand.plain(encoder)
    state = at_work(method, encoder).state_dict()
    given = examples(6, "probe")
    found = states(Subject(encoder, None, "vision", {}), "vision", given, 6)
    tokens = prompted(state, "vit", method.deep)
    _, _, hidden = by_hand.forward(model, encoder.pixels(given.inputs).double(), tokens=tokens)
    assert found.norms is not None
    for layer, expected in enumerate(hidden):
        norms = expected[:, 1 + P :].norm(dim=-1).numpy()
        np.testing.assert_allclose(found.norms[layer], norms, rtol=1e-4)
        np.testing.assert_allclose(found.layers[layer], expected[:, 0].numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_a_penalty_on_attention_reaches_the_prompts(tiny, family):
    encoder = tiny(family)
    installed = at_work(METHODS["deep"], encoder)
    given = examples(6, "train")
    with watch(encoder, "vision", grad=True) as seen:
        encoder.features(given.inputs)
    mean_entropy(seen.logits, encoder.map.tower("vision").prefix_tokens).sum().backward()
    for name, parameter in installed.trainable.items():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
        # over patches alone, a block's rows do not depend on its own prompts: CLIP's last have no say
        assert (parameter.grad.abs().sum() > 0) == (family == "siglip" or ".2." not in name)


@every_method
def test_a_copy_of_the_model_acts_with_its_own_prompts(tiny, method):
    encoder = tiny("clip")
    torch.manual_seed(0)
    installed = method.install(encoder)
    other = copy.deepcopy(encoder)
    before = encoder.image_features(by_hand.pixels().float())
    by_hand.stirred(installed)
    assert torch.equal(other.image_features(by_hand.pixels().float()), before)


@every_method
def test_texts_have_no_patches(tiny, method):
    with pytest.raises(MethodError, match=r"stand before image patches, and the text tower .* has none; use"):
        method.install(tiny("clip"), "text")


def test_it_is_not_installed_twice(tiny):
    encoder = tiny("vit")
    VPTShallow().install(encoder)
    with pytest.raises(MethodError, match=r"layers.0 already has 'prompts'"):
        VPTDeep().install(encoder)


def test_no_prompts_at_all_are_refused():
    with pytest.raises(StudyError, match=r"prompts.*greater than or equal to 1, got 0"):
        VPTDeep.parse({"kind": "vpt_deep", "prompts": 0}, "adapt")
