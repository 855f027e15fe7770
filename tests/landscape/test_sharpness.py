"""Sharpness of whole models against float64 loops that share no code with it, for every family."""

import copy
from itertools import product

import numpy as np
import pytest
import torch
import without_heads as reference
from torch import nn

from tunescope.landscape.batch import Batch
from tunescope.landscape.perturb import noise, tower_weights, weights_below
from tunescope.landscape.sharpness import Ask, measured, of_blocks, of_tower, summary
from tunescope.models.heads import LinearHead
from tunescope.models.modelmap import module_at

FAMILIES = [("clip", "vision"), ("siglip", "vision"), ("vit", "vision"), ("dinov2", "vision")]
FAMILIES += [("bert", "text"), ("deberta", "text"), ("siglip", "text")]
LABELS = np.array([2, 0, 1, 1])


def linear(encoder, seed=0):
    head = LinearHead(encoder.feature_dim, 3)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        nn.init.normal_(head.linear.weight)
    return head


def batch(encoder, tower, seeds=(0,), **options):
    heads = [linear(encoder, seed) for seed in seeds]
    return Batch(encoder, reference.inputs(tower, 4), LABELS, heads, **options), heads


def by_loops(encoder, tower, head, path, ask, normalise=False):
    """[radii, draws]: whole models in float64, their state loaded anew for each."""
    exact = reference.in_float64(encoder)
    weight, bias = (p.detach().double() for p in (head.linear.weight, head.linear.bias))
    state = copy.deepcopy(exact.model.state_dict())
    names = [f"{path}.{name}" for name, _ in module_at(exact.model, path).named_parameters()]

    def loss(moved):
        exact.model.load_state_dict(state | moved)
        with torch.no_grad():
            logits = exact.features(reference.inputs(tower, 4)) @ weight.T + bias
        if normalise:
            logits = logits - logits.mean(1)[:, None]
            logits = logits / logits.square().sum(1).sqrt()[:, None]
        p = torch.exp(logits) / torch.exp(logits).sum(1)[:, None]
        return float(np.mean([-np.log(p[i, label].item()) for i, label in enumerate(LABELS)]))

    found = np.empty((len(ask.radii["average"]), ask.draws))
    for (at, radius), draw in product(enumerate(ask.radii["average"]), range(ask.draws)):
        z = dict(
            zip(names, noise(names, [state[name].float() for name in names], ask.seed, draw), strict=True)
        )
        pair = [
            loss({name: state[name] + sign * radius * state[name].abs() * z[name].double() for name in names})
            for sign in (1, -1)
        ]
        found[at, draw] = sum(pair) / 2 - loss({})
    return found


@pytest.mark.parametrize(("family", "tower"), FAMILIES)
def test_average_case_against_loops_in_float64(tiny, family, tower):
    encoder = tiny(family)
    encoder.model.requires_grad_(False)
    given, heads = batch(encoder, tower)
    ask = Ask({"average": (0.05, 0.2)}, draws=2, seed=5)
    parts = [part.measure()["average"][0] for part in of_blocks(encoder, tower, given, ask)]
    place = encoder.map.tower(tower)
    expected = by_loops(encoder, tower, heads[0], place.blocks[1].path, ask)
    np.testing.assert_allclose(parts[1], expected, atol=1e-5, rtol=1e-3)
    assert np.abs(expected).max() > 1e-3


def test_logit_normalisation_against_loops(tiny):
    encoder = tiny("clip")
    given, heads = batch(encoder, "vision", normalise_logits=True)
    ask = Ask({"average": (0.2,)}, draws=1)
    path = encoder.map.tower("vision").blocks[0].path
    found = next(of_blocks(encoder, "vision", given, ask)).measure()["average"][0]
    expected = by_loops(encoder, "vision", heads[0], path, ask, normalise=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with torch.no_grad():
        heads[0].linear.weight.mul_(7)
    again = next(of_blocks(encoder, "vision", given, ask)).measure()["average"][0]
    np.testing.assert_allclose(again, found, atol=1e-5)


@pytest.mark.parametrize(("family", "tower"), [("clip", "vision"), ("deberta", "text")])
def test_every_kind_layer_by_layer_equals_whole_forwards(tiny, family, tower):
    encoder = tiny(family)
    encoder.model.requires_grad_(False)
    state = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    given, _ = batch(encoder, tower, (0, 1))
    hessian = ("hessian_top", "hessian_trace_adaptive")
    radii = {"average": (0.1,), "linf": (1e-3, 4e-3), "l2": (0.5,)}
    radii |= {"average_plain": (0.01,), "linf_plain": (1e-4,), "l2_plain": (0.1,)}
    ask = Ask(radii, hessian, draws=2, steps=3)
    place = encoder.map.tower(tower)
    seen = []
    for part in of_blocks(encoder, tower, given, ask, ("q",)):
        seen.append((part.layer, part.role))
        if part.layer != 1:
            continue
        found = part.measure()
        block = place.blocks[1]
        path = block.q if part.role else block.path
        whole = measured(weights_below(encoder.model, [path]), given, given.features, ask)
        assert found.keys() == whole.keys() == {*radii, *hessian}
        for kind in radii:
            np.testing.assert_allclose(found[kind], whole[kind], rtol=1e-4, atol=1e-5, err_msg=kind)
        for kind in hessian:  # attention below is computed by another kernel there
            np.testing.assert_allclose(found[kind], whole[kind], rtol=1e-3, err_msg=kind)
        assert found["average"].shape == (2, 1, 2)
        assert found["linf"].shape == (2, 2)
        assert found["hessian_top"].shape == (2,)
        assert found["hessian_trace_adaptive"].shape == (2, 2)
        assert (np.diff(found["linf"]) >= 0).all()
        assert (found["linf"] > 0).all()
    assert seen == [(layer, role) for layer in range(3) for role in (None, "attention.q")]
    assert all(torch.equal(encoder.model.state_dict()[name], value) for name, value in state.items())
    assert not any(p.requires_grad for p in encoder.model.parameters())


def test_the_worst_is_worse_than_the_mean_and_the_whole_worse_than_its_parts(tiny):
    encoder = tiny("vit")
    given, _ = batch(encoder, "vision")
    radius = 4e-3
    count = sum(w.numel() for w in tower_weights(encoder.model, encoder.map.tower("vision")).values())
    ask = Ask({"average": (radius,), "linf": (radius,), "l2": (radius * count**0.5,)}, draws=8, steps=10)
    whole = of_tower(encoder, "vision", given, ask)
    assert whole["linf"].item() > whole["average"].mean()
    assert whole["l2"].item() > whole["average"].mean()
    alone = [part.measure()["linf"].item() for part in of_blocks(encoder, "vision", given, ask)]
    assert whole["linf"].item() > max(alone)


def test_a_second_order_view_agrees_at_small_radii(tiny):
    """½ρ² tr(DHD) is average-case sharpness, and ½ρ²λ + ρ‖g‖ bounds the l2 one, to second order."""
    encoder = tiny("clip")
    given, _ = batch(encoder, "vision")
    ask = Ask({"average": (0.01,)}, ("hessian_trace_adaptive",), draws=32)
    found = next(of_blocks(encoder, "vision", given, ask)).measure()
    predicted = 0.5 * 0.01**2 * found["hessian_trace_adaptive"]
    ours = found["average"][0, 0]
    error = np.hypot(predicted.std(ddof=1), ours.std(ddof=1)) / np.sqrt(32)
    assert abs(predicted.mean() - ours.mean()) < 4 * error


class Bowls(nn.Module):
    """Four blocks, each adding a bowl of its own weights to a running sum."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(6, 1, bias=False) for _ in range(4))
        for weight in self.parameters():
            nn.init.ones_(weight)

    def forward(self):
        steep = (1.0, 1.0, 30.0, 1.0)
        return sum(h * (w - 1).square().sum() for h, w in zip(steep, self.parameters(), strict=True))


def test_the_steep_bowl_is_named_by_every_kind():
    model = Bowls()
    ask = Ask({"average": (0.1,), "linf": (0.1,), "l2": (0.1,)}, ("hessian_top", "hessian_trace"), draws=4)

    class One(Batch):
        def __init__(self):
            self._heads = (model,)

        def loss(self, features, head):
            return features().double()

        def losses(self, features):
            return features().double()[None]

    each = [measured(weights_below(model, [f"blocks.{i}"]), One(), model, ask) for i in range(4)]
    for kind in each[0]:
        values = [found[kind].mean() for found in each]
        assert int(np.argmax(values)) == 2, kind
        assert values[2] == pytest.approx(30 * values[1], rel=0.7 if kind == "average" else 1e-3), kind
    assert each[2]["linf"].item() == pytest.approx(30 * 6 * 0.01, rel=1e-4)
    assert each[2]["l2"].item() == pytest.approx(30 * 0.01, rel=1e-4)
    assert each[2]["hessian_top"].item() == pytest.approx(60, rel=1e-3)


def test_batches_count_by_their_examples():
    each = [np.array([[[1.0, 3.0]]]), np.array([[[4.0, 6.0]]])]  # one head, one radius, two draws
    found = summary("average", each, [2, 1])
    assert found.value.tolist() == [[3.0]]  # draws 2 and 4
    assert found.std is not None
    assert found.std.item() == pytest.approx(np.sqrt(2))
    assert found.n == 2
    top = summary("hessian_top", [np.array([1.0, 5.0])], [3])
    assert (top.value.tolist(), top.std, top.n) == ([[1.0], [5.0]], None, 1)
    trace = summary("hessian_trace", [np.array([[1.0, 5.0]])], [3])
    assert (trace.value.tolist(), trace.n) == ([[3.0]], 2)
