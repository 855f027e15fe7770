"""The heads probe against plain loops in float64 that share no code with it."""

from dataclasses import replace
from itertools import product
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
import torch
import without_heads as reference
from scipy.stats import kendalltau

from tunescope.data.examples import Examples
from tunescope.errors import MethodError, StudyError
from tunescope.models.heads import LinearHead, text_head
from tunescope.models.modelmap import module_at
from tunescope.objectives.caption_head import CaptionHead
from tunescope.probes.heads import HeadsProbe
from tunescope.probes.mean_interval import mean_intervals
from tunescope.probes.measure import measure
from tunescope.probes.probe import Subject
from tunescope.results.metric import declared

NAMES = ("cat", "tea", "ox")
FAMILIES = [("clip", "vision"), ("siglip", "vision"), ("vit", "vision"), ("dinov2", "vision")]
FAMILIES += [("bert", "text"), ("roberta", "text"), ("deberta", "text")]


def probe(**settings: Any):
    return HeadsProbe(**settings)


def examples(tower, count=5, labels=None):
    inputs = reference.inputs(tower, count)
    labels = np.arange(count) % 3 if labels is None else labels
    ids = tuple(map(str, range(count)))
    return Examples(inputs, labels, ids, NAMES, ("a {}.",), "val")


def linear(encoder, outputs=3, seed=0):
    head = LinearHead(encoder.feature_dim, outputs)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.nn.init.normal_(head.linear.weight)
    return head


def subject(encoder, tower, head, batch_size=2, labels=None):
    return Subject(encoder, head, tower, {"val": examples(tower, labels=labels)}, batch_size)


def by_loops(encoder, tower, part, head):
    """(layer, head) → differences and gradients, one example at a time."""
    place = encoder.map.tower(tower)
    differences, gradients = {}, {}
    for layer, number in product(range(len(place.blocks)), range(place.heads)):
        changes, slopes = [], []
        for i in range(len(part)):
            gate = torch.ones((), dtype=torch.float64, requires_grad=True)

            def gated(x, gate=gate, number=number):
                return torch.cat([x[:, :, :number], x[:, :, number, None] * gate, x[:, :, number + 1 :]], 2)

            with reference.changed(encoder, tower, layer, gated):
                loss = one_loss(head, encoder.features(part.inputs[i : i + 1]), part.labels[i])
            slopes.append(torch.autograd.grad(loss, gate)[0].item())
            with torch.no_grad(), reference.changed(encoder, tower, layer, reference.replaced(number, 0.0)):
                without = one_loss(head, encoder.features(part.inputs[i : i + 1]), part.labels[i])
            changes.append(without.item() - loss.item())
        differences[layer, number], gradients[layer, number] = changes, slopes
    return differences, gradients


def one_loss(head, features, label):
    logits = head(features)[0]
    if isinstance(label, float):
        return (logits[0] - label) ** 2
    return torch.log(torch.exp(logits - logits[label]).sum())


def double(head):
    return LinearHead(head.linear.in_features, head.linear.out_features).double().requires_grad_(False)


@pytest.mark.parametrize(("family", "tower"), FAMILIES)
def test_every_quantity_against_loops(tiny, family, tower):
    encoder = tiny(family)
    head = linear(encoder)
    given = subject(encoder, tower, head)
    found = probe().measure(given)
    exact = reference.in_float64(encoder)
    copied = double(head)
    copied.load_state_dict(head.state_dict())
    differences, gradients = by_loops(exact, tower, given.examples["val"], copied)
    expected = {"importance": differences}
    expected["gate_gradient"] = {key: [abs(g) for g in each] for key, each in gradients.items()}
    expected["gate_gradient_signed"] = gradients
    expected["gate_fisher"] = {key: [g * g for g in each] for key, each in gradients.items()}
    rows = {
        (row.metric.split(".")[1], row.layer, row.head): row
        for row in found.rows
        if row.component == "trained" and row.head is not None
    }
    assert len(rows) == 4 * 12
    for (quantity, *key), row in rows.items():
        each = expected[quantity][tuple(key)]
        assert (row.tower, row.split, row.n) == (tower, "val", 5)
        assert row.value == pytest.approx(fmean(each), abs=5e-5, rel=1e-3)
        assert row.std == pytest.approx(stdev(each), abs=1e-4, rel=1e-3)
    losses, slopes = found.arrays["heads.losses.trained"], found.arrays["heads.gradients.trained"]
    assert losses.shape == (13, 5)
    for layer, number in product(range(3), range(4)):
        apart = losses[1 + 4 * layer + number] - losses[0]
        np.testing.assert_allclose(apart, differences[layer, number], atol=1e-4)
        np.testing.assert_allclose(slopes[layer, number], gradients[layer, number], atol=1e-4, rtol=1e-3)
    intervals = found.arrays["heads.interval.trained"]
    importance = (losses[1:] - losses[0]).mean(1).reshape(3, 4)
    assert ((intervals[..., 0] <= importance) & (importance <= intervals[..., 1])).all()
    np.testing.assert_array_equal(found.arrays["heads.subset"], np.arange(5))
    agreements(found.rows, expected)


def agreements(rows, expected):
    mean = {name: [fmean(each) for each in values.values()] for name, values in expected.items()}
    mean["gate_gradient_signed"] = [-value for value in mean["gate_gradient_signed"]]
    found = {row.metric: row.value for row in rows if row.component == "trained" and row.head is None}
    assert len(found) == 6
    top = sorted(range(12), key=lambda i: -mean["importance"][i])[:3]
    for proxy in ("gate_gradient", "gate_gradient_signed", "gate_fisher"):
        tau = kendalltau(mean[proxy], mean["importance"])
        assert found[f"heads.agreement.{proxy}_kendall"] == pytest.approx(tau[0])
        ours = sorted(range(12), key=lambda i: -mean[proxy][i])[:3]
        assert found[f"heads.agreement.{proxy}_top"] == pytest.approx(len(set(top) & set(ours)) / 3)


def test_a_planted_head_is_found_first(tiny):
    """All other heads are next to nothing, and labels are made of what this one adds."""
    encoder, count = tiny("vit"), 48
    place, planted = encoder.map.tower("vision"), (1, 2)
    inputs = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    with torch.no_grad():
        for layer, block in enumerate(place.blocks):
            columns = module_at(encoder.model, block.o).get_parameter("weight").unflatten(1, (4, -1))
            for head in range(4):
                columns[:, head] *= 3.0 if (layer, head) == planted else 0.05
        whole = encoder.features(inputs)
        with reference.changed(encoder, "vision", planted[0], reference.replaced(planted[1], 0.0)):
            added = whole - encoder.features(inputs)
        added = added - added.mean(0)
        direction = torch.linalg.svd(added, full_matrices=False)[2][0]
        labels = (added @ direction > 0).long()
        head = LinearHead(encoder.feature_dim, 2)
        head.linear.weight[1] = 4 * direction
        head.linear.bias[1] = -4 * (whole @ direction).median()
    part = Examples(inputs, labels.numpy(), tuple(map(str, range(count))), NAMES[:2], ("{}",), "val")
    given = Subject(encoder, head, "vision", {"val": part}, 16)
    for ablation in ("zero", "mean"):
        found = probe(ablation=ablation).measure(given)
        rows = [row for row in found.rows if row.metric == "heads.importance"]
        first = max(rows, key=lambda row: row.value)
        assert (first.layer, first.head) == planted
        assert found.arrays["heads.interval.trained"][planted][0] > 0


def test_texts_and_images_have_the_heads_that_the_transfer_probe_reads(tiny):
    encoder = tiny("clip")
    head = linear(encoder)
    both = probe().measure(subject(encoder, "vision", head)).rows
    assert {row.component for row in both} == {"trained", "text"}
    alone = probe().measure(subject(encoder, "vision", text_head(encoder, NAMES, ("a {}.",)))).rows
    values = {(row.metric, row.layer, row.head, row.component): row.value for row in alone}
    for (metric, layer, number, component), value in values.items():
        assert value == pytest.approx(values[metric, layer, number, "text"], nan_ok=True), component
    base = probe().measure(subject(encoder, "vision", None))
    assert {row.component for row in base.rows} == {"text"}
    texts = probe().measure(subject(encoder, "text", head)).rows
    assert {(row.component, row.tower) for row in texts} == {("trained", "text")}
    assert probe().measure(subject(encoder, "text", None)).rows == []


def test_beside_the_base(tiny):
    """Of a base that has no head of its own: what its heads are worth to the trained head."""
    base, tuned = tiny("bert"), tiny("bert")
    with torch.no_grad():
        for parameter in tuned.model.parameters():
            parameter *= 1.05
    head = linear(base)
    found = measure([probe()], subject(base, "text", None), subject(tuned, "text", head))
    assert {row.metric for row in found.rows} <= set(declared())
    assert not any(name.startswith("_") for name in found.arrays)
    expected = {
        (row.layer, row.head): (row.value, row.std)
        for row in probe().measure(subject(base, "text", head)).rows
        if row.metric == "heads.importance"
    }
    before = [row for row in found.rows if row.metric == "heads.importance_pre"]
    assert len(before) == 12
    for row in before:
        assert (row.component, row.n) == ("trained", 5)
        value, std = expected[row.layer, row.head]
        assert row.value == pytest.approx(value, abs=1e-5)
        assert row.std == pytest.approx(std, abs=1e-5)

    joint, head = tiny("clip"), linear(tiny("clip"))
    found = measure([probe()], subject(joint, "vision", None), subject(joint, "vision", head))
    changes = [row for row in found.rows if row.metric == "heads.importance.change"]
    assert {(row.component, row.value) for row in changes} == {("text", 0.0)}
    assert len(changes) == 12


@pytest.mark.parametrize("kind", ["linear", "prompts", "captions"])
def test_intervals_of_what_changed(tiny, kind):
    """Whatever head was trained, and for the head of prompts, whose own the base has."""
    base, tuned = tiny("clip"), tiny("clip")
    with torch.no_grad():
        for parameter in tuned.model.vision_model.parameters():
            parameter *= 1.05
    heads = {
        "linear": lambda: linear(tuned),
        "prompts": lambda: text_head(tuned, NAMES, ("some {}",)),
        "captions": lambda: CaptionHead(tuned, NAMES, ("some {}",), True).eval(),
    }
    head, part = heads[kind](), {"val": examples("vision", 24)}
    was, now, pre = (
        probe().measure(Subject(encoder, on_top, "vision", part))
        for encoder, on_top in ((base, None), (tuned, head), (base, head))
    )
    found, before = probe().compare(was, now), pre.arrays["heads.losses.trained"]
    np.testing.assert_allclose(found.arrays["heads.losses_pre.trained"], before, atol=2e-5)

    def near(name, differences):
        ours, expected = found.arrays[name], mean_intervals(differences.reshape(3, 4, 24))
        width = expected[..., 1] - expected[..., 0]
        assert (width > 0).all()
        assert (np.abs(ours - expected).max(-1) < 0.02 * width).all()

    near("heads.interval.importance_pre", before[1:] - before[0])
    for component, losses in (("trained", before), ("text", was.arrays["heads.losses.text"])):
        after = now.arrays[f"heads.losses.{component}"]
        near(f"heads.interval.change.{component}", (after[1:] - after[0]) - (losses[1:] - losses[0]))
    assert len(found.rows) == 12
    for row in found.rows:
        low, high = found.arrays["heads.interval.importance_pre"][row.layer, row.head]
        assert low <= row.value <= high


def test_a_head_that_is_not_linear_has_no_importance_before(tiny):
    encoder = tiny("vit")
    deep = torch.nn.Sequential(linear(encoder, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    was, now = (probe().measure(subject(encoder, "vision", head)) for head in (None, deep))
    found = probe().compare(was, now)
    assert found.rows == []
    assert found.arrays == {}


def test_two_probes_compute_once_and_tell_how_far_they_are(tiny):
    encoder, told = tiny("vit"), []
    given = replace(subject(encoder, "vision", linear(encoder)), progress=lambda *said: told.append(said))
    first = probe().measure(given).arrays
    parts = [("heads", done, 9) for done in range(1, 10)]  # three batches of three layers
    assert told == parts

    def never(*_):
        raise AssertionError("it is known already")

    with torch.no_grad():
        encoder.model.register_forward_pre_hook(never)
        again = probe().measure(given).arrays
    assert told == parts * 2
    assert list(first) == list(again)
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    for other in ({"ablation": "mean"}, {"precision": "bfloat16"}, {"subset": 3}):
        with pytest.raises(AssertionError, match="it is known already"):
            probe(**other).measure(given)


def test_numbers_have_a_squared_error(tiny):
    encoder = tiny("bert")
    head = linear(encoder, 1)
    labels = np.linspace(-1, 3, 5)
    given = subject(encoder, "text", head, labels=labels)
    found = probe().measure(given)
    exact, copied = reference.in_float64(encoder), double(head)
    copied.load_state_dict(head.state_dict())
    part = examples("text", labels=labels)
    with torch.no_grad():
        outputs = [copied(exact.features(part.inputs[i : i + 1]))[0, 0].item() for i in range(5)]
    np.testing.assert_allclose(found.arrays["heads.losses.trained"][0], (outputs - labels) ** 2, rtol=1e-3)
    compared = measure([probe()], subject(encoder, "text", None, labels=labels), given).rows
    before, after = (
        [row.value for row in compared if row.metric == f"heads.{quantity}"]
        for quantity in ("importance_pre", "importance")
    )
    assert len(after) == 12
    assert before == pytest.approx(after, rel=1e-4, abs=1e-5)


def test_batches_do_not_matter_and_bfloat16_is_near(tiny):
    encoder = tiny("dinov2")
    head = linear(encoder)
    for ablation in ("zero", "mean"):
        one, other = (
            probe(ablation=ablation).measure(subject(encoder, "vision", head, size)).rows for size in (1, 5)
        )
        for a, b in zip(one, other, strict=True):
            if a.head is not None:
                assert a.value == pytest.approx(b.value, abs=1e-4, rel=1e-3)
    exact, half = (
        probe(precision=precision).measure(subject(encoder, "vision", head)).arrays
        for precision in ("float32", "bfloat16")
    )
    name = "heads.losses.trained"
    assert 1e-4 < np.abs(exact[name] - half[name]).max() < 0.1 * exact[name].std() * len(exact[name])
    assert np.corrcoef(exact[name].ravel(), half[name].ravel())[0, 1] > 0.99
    np.testing.assert_array_equal(exact["heads.gradients.trained"], half["heads.gradients.trained"])


def test_parameters_are_left_as_they_were(tiny):
    encoder = tiny("vit")
    frozen = [name for i, (name, _) in enumerate(encoder.model.named_parameters()) if i % 2]
    for name in frozen:
        encoder.model.get_parameter(name).requires_grad_(False)
    head = linear(encoder)
    probe().measure(subject(encoder, "vision", head))
    for name, parameter in [*encoder.model.named_parameters(), *head.named_parameters()]:
        assert parameter.grad is None
        assert parameter.requires_grad == (name not in frozen)


def test_errors_and_the_subset(tiny):
    encoder = tiny("vit")
    given = subject(encoder, "vision", linear(encoder))
    assert probe(subset=3).measure(given).arrays["heads.subset"].tolist() == [0, 2, 4]
    with pytest.raises(StudyError, match="subset 6, but split 'val' has 5 examples"):
        probe(subset=6).measure(given)
    with pytest.raises(StudyError, match="no split 'vall'"):
        probe(split="vall").measure(given)
    texts = Subject(tiny("clip"), None, "text", {"val": examples("vision")})
    with pytest.raises(MethodError, match="'val' is read by the vision tower, and the text tower is tuned"):
        probe().measure(texts)
