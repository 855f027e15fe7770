"""Every head taken out in turn: bit for bit the loop over gates, and other code in float64."""

import weakref
from itertools import islice, product
from typing import Any

import numpy as np
import pytest
import torch
import without_heads as reference
from torch.utils._python_dispatch import TorchDispatchMode
from without_heads import FAMILIES

from tunescope.errors import ModelError
from tunescope.methods.houlsby import Houlsby
from tunescope.methods.lora import LoRA
from tunescope.methods.method import Method
from tunescope.methods.prefix import Prefix
from tunescope.methods.prompt import Prompt
from tunescope.methods.vpt_deep import VPTDeep
from tunescope.models.ablated import ablated, head_means
from tunescope.models.leave_one_out import LeaveOneOut
from tunescope.models.seam import gate


def by_gates(encoder, tower, inputs):
    place = encoder.map.tower(tower)
    found: dict[Any, torch.Tensor] = {(None, None): encoder.features(inputs)}
    for layer, head in product(range(len(place.blocks)), range(place.heads)):
        gates = torch.ones(len(place.blocks), place.heads)
        gates[layer, head] = 0
        with gate(encoder, tower, gates):
            found[layer, head] = encoder.features(inputs)
    return found


def one_by_one(encoder, tower, inputs, means):
    place = encoder.map.tower(tower)
    found: dict[Any, torch.Tensor] = {(None, None): encoder.features(inputs)}
    for layer, head in product(range(len(place.blocks)), range(place.heads)):
        with ablated(encoder, tower, layer, head, means):
            found[layer, head] = encoder.features(inputs)
    return found


def replayed(encoder, tower, inputs, means=None, **options):
    run = LeaveOneOut(encoder, tower, inputs, means, **options)
    found: dict[Any, torch.Tensor] = {}
    for layer in range(len(encoder.map.tower(tower).blocks)):
        found |= {(layer, head): features for head, features in enumerate(run.without(layer))}
    return {(None, None): run.whole} | found


def furthest(one, other):
    assert list(one) == list(other)
    return max((one[key].double() - other[key].double()).abs().max().item() for key in one)


@torch.no_grad()
@pytest.mark.parametrize(("family", "tower"), FAMILIES)
def test_every_family_against_gates_and_other_code(tiny, family, tower):
    encoder, inputs = tiny(family), reference.inputs(tower)
    exact = reference.in_float64(encoder)
    by_loops = reference.means_by_loops(exact, tower, inputs)
    means = head_means(encoder, tower, [inputs[:2], inputs[2:]])
    torch.testing.assert_close(means.double(), torch.stack(by_loops), rtol=1e-4, atol=1e-5)

    gated = by_gates(encoder, tower, inputs)
    assert furthest(replayed(encoder, tower, inputs, shared=False), gated) == 0
    assert furthest(replayed(encoder, tower, inputs), gated) < 1e-5
    averaged = one_by_one(encoder, tower, inputs, means)
    assert furthest(replayed(encoder, tower, inputs, means, shared=False), averaged) == 0
    shared = replayed(encoder, tower, inputs, means)
    assert furthest(shared, averaged) < 1e-5

    for (layer, head), features in list(gated.items())[1::3]:  # heads of every layer
        for found, value in ((features, 0.0), (shared[layer, head], by_loops[layer][:, head])):
            with reference.changed(exact, tower, layer, reference.replaced(head, value)):
                expected = exact.features(inputs)
            torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=2e-5)
    assert furthest(shared, gated) > 1e-2  # a mean is not zero


TUNED: list[tuple[str, str, Method]] = [
    ("vit", "vision", LoRA(targets=("q", "o", "fc1"))),
    ("vit", "vision", VPTDeep(prompts=2)),
    ("clip", "text", Houlsby()),  # something stands between the projection and the block
    ("bert", "text", Houlsby()),
    ("bert", "text", Prompt(prompts=2)),
    ("deberta", "text", LoRA(targets=("v", "o"))),
    ("clip", "vision", Prefix(tokens=2)),
]


@torch.no_grad()
@pytest.mark.parametrize(
    ("family", "tower", "method"), TUNED, ids=lambda value: getattr(value, "kind", str(value))
)
def test_tuned_models_too(tiny, family, tower, method):
    encoder, inputs = tiny(family), reference.inputs(tower, 3)
    installed = method.install(encoder, tower)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in encoder.model.named_parameters():
        if name in installed.trainable:
            parameter.add_(torch.empty_like(parameter).normal_(0, 0.2, generator=generator))
    encoder.model.eval()
    for means in (None, head_means(encoder, tower, [inputs])):
        expected = one_by_one(encoder, tower, inputs, means)
        assert furthest(replayed(encoder, tower, inputs, means, shared=False), expected) == 0
        assert furthest(replayed(encoder, tower, inputs, means), expected) < 2e-5


def test_the_model_is_its_own_between_heads_and_at_the_end(tiny):
    encoder, inputs = tiny("clip"), reference.inputs("vision", 2)
    with torch.no_grad():
        expected = encoder.features(inputs)
    for _ in islice(LeaveOneOut(encoder, "vision", inputs).without(1), 2):
        assert not any("forward" in module.__dict__ for module in encoder.model.modules())
        assert torch.is_grad_enabled()
    assert torch.equal(encoder.features(inputs), expected)


def test_half_of_the_blocks_are_left_to_compute(tiny):
    """And of these, attention is computed once a layer."""
    encoder, inputs = tiny("vit"), reference.inputs("vision", 2)
    place = encoder.map.tower("vision")
    calls = {"fc2": 0, "v": 0}
    for block in place.blocks:
        for role in calls:

            def count(*_, role=role):
                calls[role] += 1

            encoder.model.get_submodule(getattr(block, role)).register_forward_hook(count)
    replayed(encoder, "vision", inputs, shared=False)
    blocks = 3 + 4 * (3 + 2 + 1)  # recorded, and what follows each head
    assert calls == {"fc2": blocks, "v": blocks}
    calls.update(fc2=0, v=0)
    replayed(encoder, "vision", inputs)
    assert calls == {
        "fc2": blocks,
        "v": 3 + 4 + 1,
    }  # of the last block once, to see whether it can be left out


class Live(TorchDispatchMode):
    """Counts the bytes of all tensors that are made and still there."""

    def __init__(self):
        super().__init__()
        self.held: dict[int, int] = {}
        self.live = self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                place, size = storage.data_ptr(), storage.nbytes()
                if place not in self.held:
                    self.held[place] = 0
                    self.live += size
                    self.peak = max(self.peak, self.live)
                self.held[place] += 1
                weakref.finalize(tensor, self.release, place, size)
        return made

    def release(self, place, size):
        self.held[place] -= 1
        if not self.held[place]:
            del self.held[place]
            self.live -= size


@torch.no_grad()
@pytest.mark.parametrize(("family", "tower"), [("vit", "vision"), ("siglip", "vision"), ("bert", "text")])
def test_memory_is_twice_that_of_a_forward_pass(tiny, family, tower):
    encoder, inputs = tiny(family), np.repeat(reference.inputs(tower), 16, 0)
    means = head_means(encoder, tower, [inputs])
    with Live() as plain:
        encoder.features(inputs)
    for given in (None, means):
        with Live() as found:
            run = LeaveOneOut(encoder, tower, inputs, given)
            for layer in range(3):
                for _ in run.without(layer):
                    pass
        assert plain.peak <= found.peak < 2 * plain.peak


def test_layers_in_any_order(tiny):
    encoder, inputs = tiny("vit"), reference.inputs("vision", 2)
    expected, run = replayed(encoder, "vision", inputs), LeaveOneOut(encoder, "vision", inputs)
    for layer in (2, 0, 1, 0):
        for head, features in enumerate(run.without(layer)):
            assert torch.equal(features, expected[layer, head])
    assert torch.equal(run.whole, expected[None, None])


def test_errors(tiny):
    encoder = tiny("vit")
    for layer, head in ((3, 0), (0, 4), (-1, 0)):
        with (
            pytest.raises(ModelError, match=r"no head .* expected layers 0 to 2 and heads 0 to 3"),
            ablated(encoder, "vision", layer, head),
        ):
            pass
    for layer in (3, -1):
        with pytest.raises(ModelError, match=rf"no layer {layer} in the vision tower; expected 0 to 2"):
            next(LeaveOneOut(encoder, "vision", reference.inputs("vision", 1)).without(layer))
    many = np.array(["a"] * 257, dtype=object)
    with pytest.raises(ModelError, match="257 texts at once; expected at most 256"):
        LeaveOneOut(tiny("bert"), "text", many)
