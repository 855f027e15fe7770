"""Walked weights, against plain loops that load a whole state dict of float64 mixtures."""

import numpy as np
import pytest
import torch
from colours import examples

from tunescope.engine.change import weight_change
from tunescope.errors import ModelError
from tunescope.landscape.plain import Walk
from tunescope.methods.method import Method
from tunescope.models.encoder import Encoder
from tunescope.study.component import resolve

IMAGES = examples(3, "val").inputs
TEXTS = np.array(["a red square", "blue", "two green ones"], dtype=object)


def inputs(encoder: Encoder) -> np.ndarray:
    return IMAGES if "vision" in encoder.map.towers else TEXTS


def noised(encoder: Encoder, scale: float = 0.1, seed: int = 3) -> dict[str, torch.Tensor]:
    """Every weight, moved."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: p.detach() + scale * torch.randn(p.shape, generator=generator)
        for name, p in encoder.model.named_parameters()
    }


def loaded(encoder: Encoder, weights: dict[str, torch.Tensor]) -> Encoder:
    state = encoder.model.state_dict() | weights
    encoder.model.load_state_dict(state)
    return encoder


def features(encoder: Encoder) -> list[torch.Tensor]:
    with torch.no_grad():
        return [encoder.features(kind) for kind in (IMAGES, TEXTS) if reads(encoder, kind)]


def reads(encoder: Encoder, kind: np.ndarray) -> bool:
    return ("vision" if kind.dtype == np.uint8 else "text") in encoder.map.towers


def held(encoder: Encoder) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in encoder.model.state_dict().items()}


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("family", ["clip", "siglip", "vit", "dinov2", "bert", "deberta", "modernbert"])
def test_every_point_is_the_model_with_mixed_weights(tiny, family):
    base = tiny(family)
    start, end, third = held(base), noised(base), noised(base, seed=4)
    with Walk(base, end) as walk, Walk(base, end, third) as plane:
        for alpha in (0.0, 0.3, 0.55, 1.0):
            weights = {
                name: ((1 - alpha) * start[name].double() + alpha * end[name].double()).float()
                for name in end
            }
            expected = features(loaded(tiny(family), weights))
            with walk.at(alpha) as walking:
                found = features(walking)
                again = features(walking)  # the buffer is used twice
            assert same(found, again)
            with walk.held(alpha) as whole:
                torch.testing.assert_close(features(whole), expected, rtol=1e-4, atol=1e-4)
                for name, value in whole.model.named_parameters():
                    torch.testing.assert_close(value.data, weights[name], rtol=1e-6, atol=1e-7)
                    value.data.add_(1.0)
            assert all(torch.equal(value, start[name]) for name, value in base.model.state_dict().items())
            if alpha in (0.0, 1.0):
                assert same(found, features(loaded(tiny(family), end if alpha else {})))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        s, t = 0.25, 0.5
        weights = {n: (0.25 * start[n].double() + s * end[n] + t * third[n]).float() for n in end}
        with plane.at((s, t)) as walking:
            torch.testing.assert_close(
                features(walking), features(loaded(tiny(family), weights)), rtol=1e-4, atol=1e-4
            )
        with plane.at((0.0, 1.0)) as walking:
            assert same(features(walking), features(loaded(tiny(family), third)))
    assert all(torch.equal(value, start[name]) for name, value in base.model.state_dict().items())


@pytest.mark.parametrize(
    "adapt",
    [
        "full",
        {"kind": "freeze", "blocks": 1},
        {"kind": "lora", "rank": 2},
        {"kind": "dora", "rank": 2, "targets": ["q", "fc1"]},
        {"kind": "oft", "block_size": 8},
        {"kind": "pissa", "rank": 2},
        "ia3",
        {"kind": "per_tower", "vision": {"kind": "lora", "rank": 2}, "text": "full"},
    ],
    ids=str,
)
def test_the_ends_are_those_of_the_method_bit_for_bit(tiny, adapt):
    base, encoder = tiny("clip"), tiny("clip")
    plain, method = features(base), resolve("adapt", adapt)
    assert isinstance(method, Method)
    installed = method.install(encoder)
    with torch.no_grad():
        for p in installed.trainable.values():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    change = weight_change(base, installed)
    if adapt == "full":  # nothing is copied
        pointers = {p.data_ptr() for p in encoder.model.parameters()}
        assert {value.data_ptr() for value in change.tuned.values()} <= pointers
    with Walk(change.base, change.tuned) as walk:
        assert walk.stays_in("vision") == ("text" not in str(adapt))
        assert not walk.stays_in("text")
        with walk.at(0.0) as walking:
            assert same(features(walking), plain)
        with walk.at(1.0) as walking:
            tuned = features(walking)
        with walk.at(0.5) as walking:
            assert not same(features(walking), plain)
        installed.merge()
        assert same(tuned, features(encoder))
    assert same(features(base), plain)


def test_one_block_has_an_alpha_of_its_own(tiny):
    base = tiny("clip")
    start, end = held(base), noised(base)
    block = base.map.tower("vision").blocks[1]
    with Walk(base, end) as walk, walk.at(1.0) as walking:
        at_end = features(walking)
        for alpha in (0.0, 0.4, 1.0):
            weights = {
                name: torch.lerp(start[name], value, alpha) if name.startswith(block.path) else value
                for name, value in end.items()
            }
            with walk.block_at(block, alpha):
                found = features(walking)
            assert same(found, features(loaded(tiny("clip"), weights)))
            assert same(at_end, features(walking))


def test_an_error_inside_leaves_the_base_as_it_was(tiny):
    base = tiny("vit")
    start = held(base)
    with Walk(base, noised(base)) as walk:
        for context in (walk.at(0.5), walk.held(0.5)):
            with pytest.raises(IndexError), context as walking:
                assert walking.features(IMAGES)[len(IMAGES)]
    assert all(torch.equal(value, start[name]) for name, value in base.model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in base.model.modules())
    assert not any("forward" in module.__dict__ for module in base.model.modules())


def test_other_weights_are_refused(tiny):
    with pytest.raises(ModelError, match=r"'layers.9.fc.weight' of shape \(2,\) is no weight of .* merge"):
        Walk(tiny("vit"), {"layers.9.fc.weight": torch.zeros(2)})
    name = "vision_model.post_layernorm.weight"
    with pytest.raises(ModelError, match=rf"'{name}' has shape \(32,\) in .* and \(3,\) in the other"):
        Walk(tiny("clip"), {name: torch.zeros(3)})
