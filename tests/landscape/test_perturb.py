import pytest
import torch
from torch import nn

from tunescope.errors import ModelError
from tunescope.landscape.perturb import Perturbed, gradient, noise, tower_weights, tracked, weights_below


def pair():
    torch.manual_seed(0)
    frozen = nn.Parameter(torch.randn(3, 2), requires_grad=False)
    return {"a": frozen, "b": nn.Parameter(torch.tensor([0.0, -2.0, 1.0]))}


@pytest.mark.parametrize("adaptive", [True, False])
def test_moves_by_a_share_of_the_weights_and_back_bit_for_bit(adaptive):
    weights = pair()
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    u = [torch.full((3, 2), 0.5), torch.tensor([0.5, 0.25, -1.0])]
    with Perturbed(weights, adaptive) as moved:
        moved.to(iter(u))
        for (name, weight), each in zip(weights.items(), u, strict=True):
            scale = before[name].abs() if adaptive else 1
            torch.testing.assert_close(weight.detach(), before[name] + scale * each)
        assert (weights["b"][0].item() == 0) == adaptive  # a weight of 0 has no share
        moved.stretch(-2.0)
        for (name, weight), each in zip(weights.items(), u, strict=True):
            scale = before[name].abs() if adaptive else 1
            torch.testing.assert_close(weight.detach(), before[name] - 2 * scale * each)
    assert all(torch.equal(weights[name], before[name]) for name in weights)


def test_restored_after_an_exception_and_as_trainable_as_before():
    weights = pair()
    before = {name: weight.detach().clone() for name, weight in weights.items()}

    def breaks():
        with Perturbed(weights) as moved:
            assert all(weight.requires_grad for weight in weights.values())
            moved.to([torch.ones(3, 2), torch.ones(3)])
            raise KeyError

    with pytest.raises(KeyError):
        breaks()
    assert all(torch.equal(weights[name], before[name]) for name in weights)
    assert [weight.requires_grad for weight in weights.values()] == [False, True]
    with tracked(weights.values(), on=False):
        assert not any(weight.requires_grad for weight in weights.values())
    assert [weight.requires_grad for weight in weights.values()] == [False, True]


def test_slopes_of_frozen_scaled_and_unused_weights():
    weights = pair() | {"unused": nn.Parameter(torch.ones(2), requires_grad=False)}
    with torch.no_grad(), Perturbed(weights) as moved:
        value, slopes = moved.slope(lambda: (3 * weights["a"]).sum() + weights["b"].square().sum())
        assert value == pytest.approx(3 * weights["a"].sum().item() + 5)
        torch.testing.assert_close(slopes[0], 3 * weights["a"].abs())
        torch.testing.assert_close(slopes[1], torch.tensor([0.0, -8.0, 2.0]))  # |w|·2w
        assert slopes[2].tolist() == [0.0, 0.0]
        assert [each.tolist() for each in gradient((weights["b"],), lambda: torch.tensor(2.0))[1]] == [
            [0, 0, 0]
        ]


def test_what_cannot_be_perturbed_is_said():
    with pytest.raises(ModelError, match="nothing to perturb"):
        Perturbed({})
    weight = nn.Parameter(torch.zeros(1))
    with pytest.raises(ModelError, match="take smaller radii"):
        gradient((weight,), lambda: (weight / 0).sum())


def test_noise_belongs_to_a_weight_and_its_draw():
    names, weights = ["a", "b"], [torch.zeros(400), torch.zeros(20, 20)]
    first, again = (list(noise(names, weights, 3, 0)) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    others = [list(noise(names, weights, seed, draw)) for seed, draw in ((3, 1), (4, 0))]
    drawn = torch.stack([each.flatten() for run in (first, *others) for each in run])
    assert (torch.corrcoef(drawn) - torch.eye(6)).abs().max() < 0.2
    assert drawn.mean().abs() < 0.1
    assert abs(drawn.std() - 1) < 0.05
    double = next(noise(["b"], [torch.zeros(20, 20).double()], 3, 0))
    assert torch.equal(double, first[1].double())


def test_which_weights(tiny):
    encoder = tiny("clip")
    place = encoder.map.tower("vision")
    found = tower_weights(encoder.model, place)
    named = dict(encoder.model.named_parameters())
    expected = {name for name in named if name.startswith(("vision_model.", "visual_projection."))}
    assert found.keys() == expected
    assert all(found[name] is named[name] for name in found)
    block = weights_below(encoder.model, [place.blocks[1].path])
    assert block.keys() == {name for name in named if name.startswith("vision_model.encoder.layers.1.")}
    bert = tiny("bert")
    assert (
        tower_weights(bert.model, bert.map.tower("text")).keys() == dict(bert.model.named_parameters()).keys()
    )
