"""The attention probe, every metric against plain loops over eager attention in float64."""

import hashlib
import math
from collections import defaultdict
from statistics import fmean, stdev
from typing import Any

import eager as reference
import numpy as np
import pytest
from families import FAMILIES

from tunescope.data.examples import Examples
from tunescope.errors import MethodError, ModelError, StudyError
from tunescope.models.modelmap import module_at
from tunescope.probes.attention import AttentionProbe
from tunescope.probes.probe import Subject

TOWERS = [(family, "vision") for family in FAMILIES] + [("clip", "text"), ("siglip", "text")]
NAMES = ("cat", "a grinning face", "tea", "woman in lotus position", "ox")
PER_LAYER = ("head_diversity", "head_diversity_pooled")


def subject(encoder, tower="vision", batch_size=2):
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    examples = Examples(images, np.arange(5), tuple("abcde"), NAMES, ("a {}.",), "probe")
    return Subject(encoder, None, tower, {"probe": examples}, batch_size)


def probe(**settings: Any):
    return AttentionProbe(**settings)


def entropy(row):
    return -sum(a * math.log(a) for a in row if a > 0)


def normalised(row):
    return [a / sum(row) for a in row]


def erf95(row):
    descending = sorted(row, reverse=True)
    return next(k for k in range(1, len(row) + 1) if sum(descending[:k]) >= 0.95 - 3e-7) / len(row)


def gini(row):
    n = len(row)
    return 2 * sum(i * x for i, x in enumerate(sorted(row), 1)) / (n * sum(row)) - (n + 1) / n


def diversity(heads):
    pairs = [(one, other) for i, one in enumerate(heads) for other in heads[i + 1 :]]
    dots = [sum(a * b for a, b in zip(one, other, strict=True)) for one, other in pairs]
    norms = [math.hypot(*one) * math.hypot(*other) for one, other in pairs]
    return 1 - fmean(dot / norm for dot, norm in zip(dots, norms, strict=True))


def expected(subject, tower, every_query):
    """{(metric, layer, head): one value per example}; head_diversity_pooled has one value for all."""
    encoder, examples = subject.encoder, subject.examples["probe"]
    place = encoder.map.tower(tower)
    ids = None
    if tower == "vision":
        seen = reference.eager(encoder, tower, pixel_values=encoder.pixels(examples.inputs))
    else:
        tokens = encoder.tokens([f"a {name}." for name in examples.class_names])
        ids = tokens["input_ids"]
        seen = reference.eager(encoder, tower, **tokens)
    prefix, found, pooled_rows = place.prefix_tokens, defaultdict(list), defaultdict(list)
    for layer, (rows, norms) in enumerate(zip(seen.rows, seen.norms, strict=True)):
        is_pool = layer == len(place.blocks)
        for example in range(len(rows)):
            tokens = rows.shape[-1]
            if ids is not None and place.pooling == "eos":
                tokens = reference.pooled(encoder, tower, ids, example) + 1
            if tower == "vision" and not is_pool:
                for head in range(place.heads):
                    far = []
                    for q in range(prefix, tokens):
                        row = normalised(rows[example, head, q, prefix:].tolist())
                        here = divmod(q - prefix, place.grid[1])
                        apart = [math.dist(here, divmod(j, place.grid[1])) for j in range(len(row))]
                        far.append(sum(a * d * place.patch_size for a, d in zip(row, apart, strict=True)))
                    found["distance", layer, head].append(fmean(far))
            if every_query and is_pool:
                continue
            if not every_query and place.pooling == "probe" and not is_pool:
                continue
            queries = (
                range(prefix, tokens) if every_query else [reference.pooled(encoder, tower, ids, example)]
            )
            values, alike, mean_rows = defaultdict(list), [], []
            for q in queries:
                keys = q + 1 if ids is not None and place.pooling == "eos" else tokens  # causal
                if keys < 2:
                    continue
                heads = [
                    normalised(rows[example, head, q, prefix:keys].tolist()) for head in range(place.heads)
                ]
                for head, row in enumerate(heads):
                    weights = norms[example, head, prefix:keys].tolist()
                    values["entropy", head].append(entropy(row))
                    values["entropy_normalised", head].append(entropy(row) / math.log(len(row)))
                    values["erf95", head].append(erf95(row))
                    values["gini", head].append(gini(row))
                    weighted = normalised([a * v for a, v in zip(row, weights, strict=True)])
                    values["value_weighted_entropy", head].append(entropy(weighted))
                    if prefix:
                        values["sink_mass", head].append(sum(rows[example, head, q, :prefix].tolist()))
                alike.append(diversity(heads))
                mean_rows.append([row + [0.0] * (rows.shape[-1] - prefix - len(row)) for row in heads])
            for (name, head), each in values.items():
                found[name, layer, head].append(fmean(each))
            found["head_diversity", layer, None].append(fmean(alike))
            pooled_rows[layer].append(np.mean(mean_rows, axis=0))
    for layer, each in pooled_rows.items():
        found["head_diversity_pooled", layer, None] = [diversity(np.mean(each, axis=0).tolist())]
    return found


@pytest.mark.parametrize("rows", ["pool", "all"])
@pytest.mark.parametrize(("family", "tower"), TOWERS)
def test_every_metric_against_eager_loops(tiny, family, tower, rows):
    given = subject(tiny(family))
    measured = probe(rows=rows, towers=(tower,)).measure(given).rows
    reference_values = expected(given, tower, rows == "all")
    keys = [(row.metric.removeprefix("attention."), row.layer, row.head) for row in measured]
    assert sorted(keys, key=str) == sorted(reference_values, key=str)
    for row, key in zip(measured, keys, strict=True):
        each = reference_values[key]
        assert (row.tower, row.split, row.n) == (tower, "probe", 5)
        assert row.value == pytest.approx(fmean(each), abs=1e-5), key
        if key[0] == "head_diversity_pooled":
            assert row.std is None
        else:
            assert row.std == pytest.approx(stdev(each), abs=1e-5), key


def test_only_what_has_a_meaning_is_written_and_all_of_it_is_declared(tiny):
    declared = {metric.name: metric for metric in AttentionProbe.metrics}
    assert len(declared) == 9
    for family, tower in TOWERS:
        encoder = tiny(family)
        rows = probe(towers=(tower,), pictures=0).measure(subject(encoder)).rows
        names = {row.metric for row in rows}
        missing = set()
        if encoder.map.tower(tower).prefix_tokens == 0:
            missing |= {"attention.sink_mass"}
        if tower == "text":
            missing |= {"attention.distance"}
        assert names == set(declared) - missing
        for row in rows:
            metric = declared[row.metric]
            assert ("head" in metric.dims) == (row.head is not None)
            low, high = metric.range
            assert low is None or row.value >= low
            assert high is None or row.value <= high


def test_batches_do_not_matter(tiny):
    encoder = tiny("clip")
    for tower in ("vision", "text"):
        one, other = (probe(towers=(tower,)).measure(subject(encoder, batch_size=size)) for size in (1, 5))
        for a, b in zip(one.rows, other.rows, strict=True):
            assert a._replace(value=0, std=0) == b._replace(value=0, std=0)
            assert a.value == pytest.approx(b.value, abs=1e-5)
        assert one.arrays.keys() == (
            {f"attention.{name}" for name in ("rollout", "pooled", "images", "image_ids")}
            if tower == "vision"
            else set()
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures(tiny, family):
    given = subject(tiny(family))
    arrays = probe(pictures=3).measure(given).arrays
    images, maps = arrays["attention.images"], arrays["attention.rollout"]
    chosen = [0, 2, 4]
    np.testing.assert_array_equal(images, given.examples["probe"].inputs[chosen])
    assert maps.dtype == np.float32
    assert maps.shape == (3, 4, 4)
    np.testing.assert_allclose(maps.sum((1, 2)), 1, rtol=1e-5)
    place = given.encoder.map.tower("vision")
    seen = reference.eager(given.encoder, "vision", pixel_values=given.encoder.pixels(images))
    for example in range(3):
        if place.pooling == "probe":
            row = seen.rows[-1][example, :, 0].mean(0)
        else:
            reached = np.eye(seen.rows[0].shape[-1])
            for rows in seen.rows:
                reached = (rows[example].mean(0) + np.eye(len(reached))) / 2 @ reached
            row = reached[0, place.prefix_tokens :]
        np.testing.assert_allclose(maps[example].ravel(), row / row.sum(), atol=1e-5)
        layers = seen.rows[-1:] if place.pooling == "probe" else seen.rows
        assert arrays["attention.pooled"].shape == (3, len(layers), 4, 4)
        for rows, ours in zip(layers, arrays["attention.pooled"][example], strict=True):
            row = rows[example, :, 0].mean(0)[place.prefix_tokens :]
            np.testing.assert_allclose(ours.ravel(), row / row.sum(), rtol=2e-3)  # float16
    digest = hashlib.sha256(images[1].tobytes()).digest()
    assert arrays["attention.image_ids"][1].tobytes() == digest[:8]


def test_more_pictures_than_images(tiny):
    assert len(probe(pictures=9).measure(subject(tiny("vit"))).arrays["attention.images"]) == 5


def test_the_tuned_tower_is_the_default(tiny):
    encoder = tiny("clip")
    assert {row.tower for row in probe().measure(subject(encoder, "text")).rows} == {"text"}
    both = probe(towers=("vision", "text")).measure(subject(encoder)).rows
    assert {row.tower for row in both} == {"vision", "text"}


@pytest.mark.parametrize("rows", ["pool", "all"])
def test_attention_collapsed_onto_the_sink_is_measured(tiny, rows):
    """Patch probabilities underflow to zero there; their shape among themselves is still defined."""
    encoder = tiny("clip")
    first = encoder.map.tower("vision").blocks[0]
    keys = []
    handle = module_at(encoder.model, first.k).register_forward_hook(
        lambda _m, _i, output: keys.append(output)
    )
    given = subject(encoder)
    encoder.features(given.examples["probe"].inputs)
    handle.remove()
    queries = module_at(encoder.model, first.q)
    queries.get_parameter("weight").data.zero_()
    queries.get_parameter("bias").data.copy_(1000 * keys[0][0, 0])  # every query asks for [CLS]'s key
    found = probe(rows=rows, pictures=1).measure(given)
    np.testing.assert_allclose(found.arrays["attention.pooled"].sum((2, 3)), 1, rtol=2e-3)
    measured = found.rows
    assert all(math.isfinite(row.value) for row in measured)
    first_layer = {row.metric: row.value for row in measured if (row.layer, row.head) == (0, 0)}
    assert first_layer["attention.sink_mass"] == 1
    assert 0 <= first_layer["attention.entropy"] < 1


def test_errors(tiny):
    with pytest.raises(StudyError, match=r"no split 'prob'.*did you mean 'probe'"):
        probe(split="prob").measure(subject(tiny("vit")))
    with pytest.raises(MethodError, match="no 'text' tower"):
        probe(towers=("text",)).measure(subject(tiny("vit")))
    encoder = tiny("vit")
    module_at(encoder.model, encoder.map.tower("vision").blocks[1].q).get_parameter("weight").data.fill_(
        math.nan
    )
    with pytest.raises(ModelError, match="diverged"):
        probe().measure(subject(encoder))
