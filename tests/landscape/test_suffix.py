"""What follows a block, against the whole forward pass."""

from functools import partial

import pytest
import torch
from without_heads import FAMILIES, inputs

from tunescope.landscape.perturb import weights_below
from tunescope.landscape.suffix import suffixes
from tunescope.models.modelmap import module_at


@pytest.mark.parametrize(("family", "tower"), FAMILIES)
def test_bit_for_bit_with_moved_weights_and_their_gradients(tiny, family, tower):
    encoder = tiny(family)
    place = encoder.map.tower(tower)
    features = partial(encoder.features, inputs(tower, 3))
    with torch.no_grad():
        whole = features()
    forwards = [module.__dict__.get("forward") for module in encoder.model.modules()]
    computed = []
    for block in place.blocks:
        module_at(encoder.model, block.path).register_forward_pre_hook(lambda *_, at=block.path: None)
        inside = module_at(encoder.model, block.fc1)
        inside.register_forward_hook(lambda *_, at=block.path: computed.append(at))
    seen = 0
    for block, rest in zip(place.blocks, suffixes(encoder.model, place, features), strict=True):
        computed.clear()
        with torch.no_grad():
            assert torch.equal(rest(), whole)
        assert computed == [each.path for each in place.blocks[seen:]]  # nothing below is computed again
        weights = list(weights_below(encoder.model, [block.path]).values())
        before = [weight.detach().clone() for weight in weights]
        with torch.no_grad():
            for weight in weights:
                weight.mul_(1.1)
        ours, plain = (torch.autograd.grad(each().square().sum(), weights) for each in (rest, features))
        assert all(torch.equal(one, other) for one, other in zip(ours, plain, strict=True))
        with torch.no_grad():
            assert torch.equal(rest(), features())
            assert not torch.equal(rest(), whole)
            for weight, origin in zip(weights, before, strict=True):
                weight.copy_(origin)
        seen += 1
    assert seen == len(place.blocks) == 3
    assert [module.__dict__.get("forward") for module in encoder.model.modules()] == forwards
    with torch.no_grad():
        assert torch.equal(features(), whole)


@pytest.mark.parametrize(("family", "tower"), FAMILIES)
def test_one_token_of_the_last_block_with_gradients(tiny, family, tower):
    encoder = tiny(family)
    encoder.model.requires_grad_(False)
    place = encoder.map.tower(tower)
    features = partial(encoder.features, inputs(tower, 3))
    rests = suffixes(encoder.model, place, features, one_token=True)
    for block, rest in zip(place.blocks, rests, strict=True):
        weights = list(weights_below(encoder.model, [block.path]).values())
        for weight in weights:
            weight.requires_grad_(True)
        both = [
            torch.autograd.grad(each().square().sum(), weights, allow_unused=True, materialize_grads=True)
            for each in (rest, features, rest)
        ]
        for ours, plain, again in zip(*both, strict=True):
            torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(again, plain, rtol=1e-4, atol=1e-4)
        with torch.no_grad():
            for weight in weights:
                weight.mul_(1.1)
            torch.testing.assert_close(rest(), features(), rtol=1e-5, atol=1e-5)
            for weight in weights:
                weight.div_(1.1)
                weight.requires_grad_(False)


def test_the_model_is_as_it_was_after_an_exception(tiny):
    encoder = tiny("vit")
    place = encoder.map.tower("vision")
    features = partial(encoder.features, inputs("vision", 2))
    rests = suffixes(encoder.model, place, features)
    next(rests)
    rest = next(rests)
    broken = module_at(encoder.model, place.blocks[2].fc1).register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rest()
    broken.remove()
    assert not any("forward" in module.__dict__ for module in encoder.model.modules())
