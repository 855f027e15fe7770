"""The representation probe on every family, against the blocks called by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES

from tunescope.data.examples import Examples
from tunescope.engine.base import write_arrays
from tunescope.errors import StudyError
from tunescope.models.modelmap import module_at
from tunescope.probes.attention import AttentionProbe
from tunescope.probes.measure import derive, measure, observe
from tunescope.probes.probe import Measurement, Subject
from tunescope.probes.representation import FEATURES, LAYERS, RepresentationProbe
from tunescope.probes.similarity import cka, drift, effective_rank, norm_outliers

TOWERS = [(family, "vision") for family in FAMILIES] + [("clip", "text"), ("siglip", "text")]
NAMES = ("cat", "a grinning face", "tea", "woman in lotus position", "ox")
PLAIN = {"cka", "drift", "effective_rank", "norm_outliers"}


def subject(encoder, tower="vision", batch_size=4, n=7, split="probe"):
    images = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(n, dtype=np.int64) % 5
    ids = tuple(str(i) for i in range(n))
    examples = Examples(images, labels, ids, NAMES, ("a {}.", "two {}s"), split)
    return Subject(encoder, None, tower, {split: examples}, batch_size)


def probe(**settings: Any) -> RepresentationProbe:
    return RepresentationProbe(**settings)


def moved(encoder, amount=0.2):
    with torch.no_grad():
        torch.manual_seed(1)
        for tower in encoder.map.towers.values():
            for block in tower.blocks:
                weight = encoder.model.get_parameter(f"{block.fc2}.weight")
                weight.add_(amount * torch.randn_like(weight))
    return encoder


def by_hand(encoder, tower, one):
    """Hidden states of one example after each block, by transformers' own `output_hidden_states`."""
    place = encoder.map.tower(tower)
    module = module_at(encoder.model, place.path)
    with torch.no_grad():
        if tower == "text":
            out = module(**encoder.tokens([one]), output_hidden_states=True)
            return out.hidden_states[1:], encoder.text_features([one])[0]
        pixels = encoder.pixels(one[None])
        out = module(pixel_values=pixels, output_hidden_states=True)
        return out.hidden_states[1:], encoder.image_features(pixels)[0]


@pytest.mark.parametrize(("family", "tower"), TOWERS)
def test_representations_are_those_of_each_example_alone(tiny, family, tower):
    encoder = tiny(family)
    seen = subject(encoder, tower)
    found = probe().measure(seen)
    place = encoder.map.tower(tower)
    texts = [template.replace("{}", name) for name in NAMES for template in ("a {}.", "two {}s")]
    each = list(seen.examples["probe"].inputs) if tower == "vision" else texts
    norms = []
    for i, one in enumerate(each):
        hidden, features = by_hand(encoder, tower, one)
        assert len(hidden) == len(place.blocks) == 3
        np.testing.assert_allclose(found.arrays[FEATURES][i], features, atol=2e-5)
        for layer, state in enumerate(hidden):
            if tower == "text":
                ids = encoder.tokens([one])["input_ids"][0].tolist()
                at = -1 if family == "siglip" else ids.index(encoder.tokenizer.eos_token_id)
                expected = state[0, at]
            elif family == "siglip":
                expected = state[0].mean(0)
            else:
                expected = state[0, 0]
            np.testing.assert_allclose(found.arrays[LAYERS][layer, i], expected, atol=2e-5)
        if tower == "vision":
            norms.append([state[0, place.prefix_tokens :].norm(dim=-1).numpy() for state in hidden])
    table = {(row.metric, row.layer): row for row in found.rows}
    for layer in range(3):
        row = table["representation.effective_rank", layer]
        assert row.value == pytest.approx(effective_rank(found.arrays[LAYERS][layer]))
        assert (row.tower, row.split, row.n, row.std) == (tower, "probe", len(each), None)
        if tower == "vision":
            share = norm_outliers(np.array(norms)[:, layer])
            row = table["representation.norm_outliers", layer]
            assert row.value == pytest.approx(share.mean())
            assert row.std == pytest.approx(share.std(ddof=1))
    assert len(found.rows) == (7 if tower == "vision" else 4)
    assert table["representation.effective_rank", None].value > 1


def test_base_and_tuned_side_by_side(tiny):
    base, tuned = subject(tiny("clip")), subject(moved(tiny("clip")))
    found = measure([probe()], base, tuned, base)
    table = {(row.metric.removeprefix("representation."), row.layer): row for row in found.rows}
    places = [0, 1, 2, None]
    one, other = (probe().measure(model).arrays for model in (base, tuned))
    for layer in places:
        x, y = (arrays[FEATURES] if layer is None else arrays[LAYERS][layer] for arrays in (one, other))
        apart = drift(x, y)
        assert table["cka", layer].value == pytest.approx(cka(x, y), abs=1e-12)
        assert abs(table["cka", layer].value) < 0.9999
        assert table["drift", layer].value == pytest.approx(apart.mean())
        assert table["drift", layer].std == pytest.approx(apart.std(ddof=1))
        assert table["cka.base_only", layer].value == 1
        assert table["drift.base_only", layer].value == 0
        assert table["effective_rank.change", layer].value == pytest.approx(
            effective_rank(y) - effective_rank(x)
        )
    names = {name for name, _ in table}
    assert names == {
        *PLAIN,
        "cka.base_only",
        "drift.base_only",
        *(
            f"{name}.{derived}"
            for name in ("effective_rank", "norm_outliers")
            for derived in ("base", "base_only", "change")
        ),
        "effective_rank.change_relative",
    } | ({"norm_outliers.change_relative"} & names)
    assert (
        {name.split(".")[0] for name in names}
        == PLAIN
        == {metric.name.removeprefix("representation.") for metric in RepresentationProbe.metrics}
    )
    assert found.arrays == {}


def test_the_base_compared_with_itself(tiny):
    found = measure([probe()], subject(tiny("siglip")), subject(tiny("siglip")))
    values = {row.metric: set() for row in found.rows}
    for row in found.rows:
        values[row.metric].add(row.value)
    assert values["representation.cka"] == {1.0}
    assert values["representation.drift"] == {0.0}
    assert values["representation.effective_rank.change"] == {0.0}


def test_a_stored_base_serves_as_well_as_a_fresh_one(tiny, tmp_path):
    from safetensors.numpy import load_file

    probes = [probe()]
    base, active = observe(probes, subject(tiny("vit"))), observe(probes, subject(moved(tiny("vit"))))
    write_arrays(tmp_path / "arrays.safetensors", base["representation"])
    stored = Measurement(base["representation"].rows, load_file(tmp_path / "arrays.safetensors"))
    assert derive(probes, {"representation": stored}, active).rows == derive(probes, base, active).rows


def test_private_arrays_stay_behind_and_others_do_not(tiny):
    probes = [AttentionProbe(pictures=1), probe()]
    found = measure(probes, subject(tiny("vit")), subject(tiny("vit")))
    public = ("attention.images", "attention.image_ids", "attention.rollout", "attention.pooled")
    assert set(found.arrays) == {*public, *(f"{name}.base" for name in public)}


def test_the_sample_is_spread_over_the_split(tiny):
    encoder = tiny("vit")
    every = probe().measure(subject(encoder)).arrays
    some = probe(sample=4).measure(subject(encoder)).arrays
    np.testing.assert_allclose(some[FEATURES], every[FEATURES][[0, 2, 4, 6]], atol=1e-5)
    np.testing.assert_allclose(some[LAYERS], every[LAYERS][:, [0, 2, 4, 6]], atol=1e-5)


def test_fewer_than_four_examples_have_a_drift_but_no_cka(tiny):
    found = measure([probe()], subject(tiny("vit"), n=3), subject(moved(tiny("vit")), n=3))
    names = {row.metric for row in found.rows}
    assert "representation.drift" in names
    assert "representation.cka" not in names


def test_one_example_has_no_spread(tiny):
    found = measure([probe()], subject(tiny("vit"), n=1), subject(moved(tiny("vit")), n=1))
    assert {row.std for row in found.rows} == {None}
    assert {row.value for row in found.rows if row.metric.endswith("effective_rank")} == {0}


def test_a_split_that_is_not_there(tiny):
    with pytest.raises(StudyError, match="representation probe: no split 'probe' among the examples"):
        probe().measure(subject(tiny("vit"), split="val"))


def test_the_hooks_are_gone_afterwards(tiny):
    encoder = tiny("clip")
    probe().measure(subject(encoder))
    assert not any(module._forward_hooks for module in encoder.model.modules())
