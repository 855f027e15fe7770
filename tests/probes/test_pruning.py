"""Pruning curves against plain loops in float64, and in a model where one head carries the label."""

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import without_heads as reference
from scipy.stats import spearmanr

from tunescope.data.examples import Examples
from tunescope.errors import MethodError, StudyError
from tunescope.models.heads import LinearHead
from tunescope.models.modelmap import module_at
from tunescope.probes.change import WeightChange
from tunescope.probes.heads import HeadsProbe
from tunescope.probes.kept import InMemory
from tunescope.probes.measure import measure, observe
from tunescope.probes.plasticity import PlasticityProbe
from tunescope.probes.probe import Subject
from tunescope.probes.projections import by_head, projections
from tunescope.probes.pruning import RANKINGS, PruningProbe
from tunescope.probes.rankings import shuffled
from tunescope.probes.transfer import TransferProbe
from tunescope.results.metric import declared

NAMES = ("cat", "tea", "ox")


def examples(inputs, labels, split="test"):
    return Examples(inputs, labels, tuple(map(str, range(len(inputs)))), NAMES, ("a {}.",), split)


def linear(encoder, outputs=3):
    head = LinearHead(encoder.feature_dim, outputs)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.nn.init.normal_(head.linear.weight)
    return head


def subject(encoder, tower, head, labels=None, batch_size=4):
    inputs = reference.inputs(tower)
    labels = np.array([0, 1, 2, 0, 1]) if labels is None else labels
    parts = {"val": examples(inputs, labels, "val"), "test": examples(inputs[::-1].copy(), labels)}
    return Subject(encoder, head, tower, parts, batch_size)


def curves(rows, quantity, component="trained"):
    """(ranking, share) → value."""
    return {
        (row.metric.split(".")[1], row.point): row.value
        for row in rows
        if row.metric.endswith(f".{quantity}") and row.component == component
    }


def outputs_by_loops(encoder, tower, part, head, out):
    """Outputs of each example by itself, with heads zeroed at the input of the projections."""
    found = []
    for i in range(len(part)):
        with ExitStack() as stack, torch.no_grad():
            for layer, number in out:
                zeroed = reference.replaced(number, 0.0)
                stack.enter_context(reference.changed(encoder, tower, layer, zeroed))
            features = encoder.features(part.inputs[i : i + 1])[0]
            found.append(features @ head.linear.weight.double().T + head.linear.bias.double())
    return torch.stack(found).numpy()


def number_out(share, heads):
    return int(share * heads + 0.5)


@pytest.mark.parametrize(("family", "tower"), reference.FAMILIES)
def test_every_family_against_loops(tiny, family, tower):
    encoder = tiny(family)
    head = linear(encoder)
    given = subject(encoder, tower, head)
    found = PruningProbe(rankings=("importance", "random"), steps=3, orders=2).measure(given)
    exact, part = reference.in_float64(encoder), given.examples["test"]
    accuracies, losses = {}, {}
    for ranking in ("importance", "random"):
        orders = found.arrays[f"pruning.order.{ranking}.trained"].tolist()
        assert all(sorted(order) == list(range(12)) for order in orders)
        for share in (0, 1 / 3, 2 / 3, 1):
            scores = []
            for order in orders:
                out = [divmod(head, 4) for head in order[: number_out(share, 12)]]
                logits = outputs_by_loops(exact, tower, part, head, out)
                right = [row.argmax() == label for row, label in zip(logits, part.labels, strict=True)]
                each = [
                    np.log(np.exp(row - row[label]).sum())
                    for row, label in zip(logits, part.labels, strict=True)
                ]
                scores.append((np.mean(right), np.mean(each)))
            accuracies[ranking, share], losses[ranking, share] = np.mean(scores, 0)
    assert curves(found.rows, "acc1") == pytest.approx(accuracies)
    assert curves(found.rows, "loss") == pytest.approx(losses, rel=1e-3, abs=1e-4)
    for ranking in ("importance", "random"):
        for area, each in (("area", accuracies), ("loss_area", losses)):
            a, b, c, d = (each[ranking, share] for share in (0, 1 / 3, 2 / 3, 1))
            value = curves(found.rows, area)[ranking, None]
            assert value == pytest.approx((a / 2 + b + c + d / 2) / 3, rel=1e-3)


def planted(encoder, at, count=24):
    """A subject whose labels one head alone carries: the others' columns of the projection are zero."""
    place = encoder.map.tower("vision")
    inputs = np.random.default_rng(0).integers(0, 256, (2 * count, 32, 32, 3), dtype=np.uint8)
    with torch.no_grad():
        for layer, block in enumerate(place.blocks):
            columns = module_at(encoder.model, block.o).get_parameter("weight").unflatten(1, (4, -1))
            for head in range(4):
                columns[:, head] *= (layer, head) == at
        whole = encoder.features(inputs)
        direction = torch.linalg.svd(whole - whole.mean(0), full_matrices=False)[2][0]
        found = whole @ direction
        labels = torch.cat([part > part.median() for part in found.split(count)]).long().numpy()
        head = LinearHead(encoder.feature_dim, 2)
        head.linear.weight[1] = 40 * direction
        head.linear.bias[1] = -40 * found[count:].sort().values[count // 2 - 1 : count // 2 + 1].mean()
    parts = {
        "val": examples(inputs[:count], labels[:count], "val"),
        "test": examples(inputs[count:], labels[count:]),
    }
    return Subject(encoder, head, "vision", parts, 16)


def test_one_head_alone_carries_the_label(tiny):
    """Importance keeps it to the last; without it accuracy is chance; chance takes it out where it will."""
    where = 1 * 4 + 2
    given = planted(tiny("vit"), (1, 2))
    found = PruningProbe(steps=12, orders=3, rankings=("importance", "gate_fisher", "random")).measure(given)
    accuracy = curves(found.rows, "acc1")
    for ranking in ("importance", "gate_fisher"):
        assert found.arrays[f"pruning.order.{ranking}.trained"][0, -1] == where
        assert [accuracy[ranking, k / 12] for k in range(13)] == [1.0] * 12 + [0.5]
        assert curves(found.rows, "area")[ranking, None] == pytest.approx(11.75 / 12)
    gone = [order.tolist().index(where) for order in found.arrays["pruning.order.random.trained"]]
    for k in range(13):
        expected = np.mean([0.5 if place < k else 1.0 for place in gone])
        assert accuracy["random", k / 12] == pytest.approx(expected)


def test_no_head_out_is_what_the_transfer_probe_reads(tiny):
    encoder = tiny("clip")
    given = subject(encoder, "vision", linear(encoder))
    found = PruningProbe(rankings=("random", "gate_gradient"), steps=2, orders=1).measure(given).rows
    for row in TransferProbe().measure(given).rows:
        quantity = row.metric.split(".")[1]
        if row.split == "test" and quantity in ("acc1", "loss"):
            ours = [
                each
                for each in found
                if each.metric.endswith(f".{quantity}") and (each.component, each.point) == (row.component, 0)
            ]
            assert [each.metric.split(".")[1] for each in ours] == ["random", "gate_gradient"]
            assert {(each.value, each.std, each.n) for each in ours} == {(row.value, row.std, row.n)}
    ends = [curves(found, "loss", component) for component in ("trained", "text")]
    for found in ends:  # with no head, and with all, the order does not matter
        assert found["random", 0.0] == found["gate_gradient", 0.0]
        assert found["random", 1.0] == found["gate_gradient", 1.0]
    assert ends[0] != ends[1]


def test_the_lowest_go_first(tiny):
    encoder, base = tiny("clip"), tiny("clip")
    update = {}
    for projection in projections(base, "vision"):
        weight = torch.zeros_like(base.model.get_parameter(projection.weight))
        before = by_head(projection, base.model.get_parameter(projection.weight).detach(), 4)
        for head in range(4):
            size = (1 + (projection.layer * 4 + head) * 5 % 12) / 100
            rows = slice(head * 8, head * 8 + 8)
            share = before[head].view(8, -1) * size
            if projection.component == "o":
                weight[:, rows] = share.T
            else:
                weight[rows] = share
        update[projection.weight] = weight
    tuned = {name: encoder.model.get_parameter(name) for name in update}
    with torch.no_grad():
        for name, parameter in tuned.items():
            parameter.add_(update[name])
    given = replace(subject(encoder, "vision", linear(encoder)), change=lambda: WeightChange(base, tuned))
    found = PruningProbe(steps=2, orders=2).measure(given)
    ours = {name.removeprefix("pruning.order."): array for name, array in found.arrays.items()}
    heads, plastic = HeadsProbe().measure(given).rows, PlasticityProbe(split="val").measure(given).rows
    for component in ("trained", "text"):
        for ranking in ("importance", "gate_gradient", "gate_fisher"):
            each = [r for r in heads if r.metric == f"heads.{ranking}" and r.component == component]
            assert ours[f"{ranking}.{component}"].tolist() == [in_order(each)]
        each = [r for r in plastic if r.metric == "heads.plasticity" and r.component == "attention"]
        assert ours[f"plasticity.{component}"].tolist() == [in_order(each)]
        moved = sorted(range(12), key=lambda head: head * 5 % 12)
        assert ours[f"update_relative.{component}"].tolist() == [moved]
        assert ours[f"random.{component}"].tolist() == shuffled(12, 2).tolist()
    assert {row.metric.split(".")[1] for row in found.rows} == set(RANKINGS)
    still = PruningProbe(steps=2, orders=2).measure(replace(given, change=None))
    assert {row.metric.split(".")[1] for row in still.rows} == set(RANKINGS) - {"update_relative"}


def in_order(rows):
    return [4 * row.layer + row.head for row in sorted(rows, key=lambda row: row.value)]


def test_beside_the_base(tiny):
    base, tuned = tiny("clip"), tiny("clip")
    with torch.no_grad():
        for parameter in tuned.model.vision_model.encoder.parameters():
            parameter *= 1.1
    probe = PruningProbe(steps=2, orders=1)
    before, after = subject(base, "vision", None), subject(tuned, "vision", linear(tuned))
    found = measure([probe], before, after, after).rows
    assert {row.metric for row in found} <= set(declared())
    compared = {row.metric for row in found if row.metric.endswith((".base", ".base_only", ".change"))}
    rankings = set(RANKINGS) - {"update_relative"}
    assert {name.split(".")[1] for name in compared} == rankings
    assert {row.component for row in found if row.metric.endswith(".change")} == {"text"}
    values = {(row.metric, row.point): row.value for row in found if row.component == "text"}
    for ranking in rankings:
        name = f"pruning.{ranking}.loss"
        for point in (0.0, 0.5, 1.0):
            change = values[name, point] - values[f"{name}.base", point]
            assert values[f"{name}.change", point] == pytest.approx(change)
    assert PruningProbe().measure(subject(tiny("vit"), "vision", None)).rows == []


def test_nothing_is_computed_twice(tiny):
    """Not by the heads probe and this one, and not after a kill."""
    encoder, made = tiny("vit"), []

    class Counted(InMemory):
        def __call__(self, key, make):
            return super().__call__(key, lambda: made.append(key) or make())

    told: list[Any] = []
    given = subject(encoder, "vision", linear(encoder))
    given = replace(given, kept=Counted(), progress=lambda *said: told.append(said))
    probe = PruningProbe(steps=2, orders=2)
    first = observe([HeadsProbe(), probe], given)["pruning"]
    assert len(made) == len(set(made))
    read = [key for key in made if key.startswith("pruning/")]
    assert len(read) <= 2 + 3 + 1 + 2  # no head out, all out, and between them one set for each order
    assert told[-1] == ("pruning", 6, 6)
    before = len(made)
    assert probe.measure(given).rows == first.rows
    assert len(made) == before


def test_numbers(tiny):
    encoder = tiny("bert")
    head = linear(encoder, 1)
    given = subject(encoder, "text", head, labels=np.linspace(-1, 3, 5))
    found = PruningProbe(rankings=("importance",), steps=2).measure(given)
    order = found.arrays["pruning.order.importance.trained"][0].tolist()
    exact, part = reference.in_float64(encoder), given.examples["test"]
    by_loops = partial(outputs_by_loops, exact, "text", part, head)
    for share in (0.0, 0.5):
        outputs = by_loops([divmod(one, 4) for one in order[: number_out(share, 12)]])[:, 0]
        expected: Any = spearmanr(outputs, part.labels)
        assert curves(found.rows, "spearman")["importance", share] == pytest.approx(expected[0])
        error = ((outputs - part.labels) ** 2).mean()
        assert curves(found.rows, "loss")["importance", share] == pytest.approx(error, rel=1e-3)
    assert {row.metric.split(".")[2] for row in found.rows} == {"spearman", "loss", "loss_area"}


def test_samples(tiny):
    encoder = tiny("vit")
    given = subject(encoder, "vision", linear(encoder))
    found = PruningProbe(sample=3, subset=4, steps=1, rankings=("importance", "plasticity")).measure(given)
    assert found.arrays["pruning.sample"].tolist() == [0, 2, 4]
    assert {row.n for row in found.rows} == {3}
    expected = HeadsProbe(subset=4).measure(given).rows
    each = [row for row in expected if row.metric == "heads.importance"]
    assert found.arrays["pruning.order.importance.trained"].tolist() == [in_order(each)]
    zero_shot = replace(given, examples={**given.examples, "zero_shot:x": given.examples["test"]})
    parts = {name: replace(part, split=name) for name, part in zero_shot.examples.items()}
    assert PruningProbe(split="zero_shot:x").measure(replace(given, examples=parts)).rows == []


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"split": "tset"}, StudyError, "pruning probe: no split 'tset'.*did you mean 'test'"),
        ({"ranked_on": "vla"}, StudyError, "pruning probe: no split 'vla'"),
        ({"subset": 6}, StudyError, "pruning probe: subset 6, but split 'val' has 5"),
        ({"steps": 13}, StudyError, "13 steps, but the vision tower has 12 heads"),
        ({"split": "texts"}, MethodError, "'texts' is read by the text tower, and the vision tower"),
        ({"ranked_on": "texts"}, MethodError, "'texts' is read by the text tower, and the vision tower"),
    ],
)
def test_mistakes(tiny, settings, error, message):
    encoder = tiny("vit")
    given = subject(encoder, "vision", linear(encoder))
    texts = examples(reference.inputs("text"), np.zeros(5, np.int64), "texts")
    given = replace(given, examples={**given.examples, "texts": texts})
    with pytest.raises(error, match=message):
        PruningProbe(**settings).measure(given)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"orders": 0}, "orders"),
        ({"rankings": []}, "rankings"),
        ({"rankings": ["luck"]}, "rankings"),
        ({"ranked_on": "test"}, "ranked and read on 'test'; expected two splits"),
        ({"step": 5}, "did you mean 'steps'"),
    ],
)
def test_settings(settings, message):
    with pytest.raises(StudyError, match=message):
        PruningProbe.parse({"kind": "pruning"} | settings, "probes")
