"""Worst-case sharpness against closed forms, and what must hold of any search."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from tunescope.landscape.average_case import average_case
from tunescope.landscape.worst_case import Norm, checkpoints, worst_case


def weights(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "a": nn.Parameter(torch.randn(4, 3, generator=generator), requires_grad=False),
        "b": nn.Parameter(torch.randn(3, generator=generator)),
    }


def flat(held):
    return torch.cat([weight.detach().double().flatten() for weight in held.values()])


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_linear_loss_exactly(adaptive):
    held = weights()
    slopes = weights(1)

    def loss():
        return torch.stack([(slopes[name] * weight).sum() for name, weight in held.items()]).sum()

    pull = flat(slopes) * (flat(held).abs() if adaptive else 1)
    rises: dict[Norm, torch.Tensor] = {"linf": pull.abs().sum(), "l2": pull.norm()}
    for norm, rise in rises.items():
        found = worst_case(held, loss, (0.2, 0.05), norm, adaptive=adaptive)
        assert [one.radius for one in found] == [0.05, 0.2]
        for one in found:
            assert one.increase == pytest.approx(one.radius * rise.item(), rel=2e-4)


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_bowl_with_one_steep_direction_from_its_very_bottom(adaptive):
    """L = ½ Σ hᵢ(wᵢ − cᵢ)² at w = c, where the gradient is 0: the corner, and the steepest axis."""
    held = weights()
    scale = flat(held).abs() if adaptive else torch.ones(15).double()
    h = torch.ones(15).double()
    h[4] = 400.0 / scale[4] ** 2
    centre = flat(held)

    def loss():
        now = torch.cat([weight.double().flatten() for weight in held.values()])
        return 0.5 * (h * (now - centre).square()).sum()

    radius = 0.1
    corner = 0.5 * radius**2 * (h * scale**2).sum().item()
    axis = 0.5 * radius**2 * (h * scale**2).max().item()
    assert worst_case(held, loss, (radius,), "linf", adaptive=adaptive)[0].increase == pytest.approx(
        corner, rel=1e-4
    )
    assert worst_case(held, loss, (radius,), "l2", adaptive=adaptive)[0].increase == pytest.approx(
        axis, rel=1e-3
    )


def test_against_a_grid_over_the_whole_ball():
    held = {"w": nn.Parameter(torch.tensor([1.0, -2.0]))}
    w = held["w"]

    def loss():
        return torch.sin(3 * w[0]) * torch.cos(w[1]) + 0.3 * w[0] * w[1]

    sides = np.linspace(-0.3, 0.3, 61)
    at, here = w.detach().clone(), loss().item()
    rises = {"linf": [0.0], "l2": [0.0]}
    with torch.no_grad():
        for u in itertools.product(sides, sides):
            w.copy_(at + at.abs() * torch.tensor(u))
            rises["linf"].append(loss().item() - here)
            if np.hypot(*u) <= 0.3:
                rises["l2"].append(loss().item() - here)
        w.copy_(at)
    for norm in ("linf", "l2"):
        found = worst_case(held, loss, (0.3,), norm)[0].increase
        assert found >= 0.99 * max(rises[norm])
        assert found <= 1.02 * max(rises[norm])


def network(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 8), nn.GELU(), nn.Linear(8, 3))
    x, y = torch.randn(32, 6), torch.arange(32) % 3
    return dict(model.named_parameters()), lambda: nn.functional.cross_entropy(model(x), y)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_of_a_network(norm):
    held, loss = network()
    before = {name: weight.detach().clone() for name, weight in held.items()}
    radii = (0.02, 0.05, 0.1, 0.2) if norm == "linf" else (0.3, 0.6, 1.2, 2.4)
    found = worst_case(held, loss, radii, norm)
    again = worst_case(held, loss, radii, norm)
    assert found == again  # to the last bit
    assert all(torch.equal(held[name], before[name]) for name in held)
    rises = [one.increase for one in found]
    assert rises == sorted(rises)
    assert rises[0] > 0
    for one in found:
        assert len(one.trace) == 21
        assert list(one.trace) == sorted(one.trace)
        assert one.trace[-1] == one.increase
    count = sum(weight.numel() for weight in held.values())
    by_chance = average_case(held, loss, [r if norm == "linf" else r / count**0.5 for r in radii], draws=16)
    assert all(worst > mean for worst, mean in zip(rises, by_chance.mean(1), strict=True))
    with torch.no_grad():
        value, slopes = loss().item(), None
    with torch.enable_grad():
        slopes = torch.autograd.grad(loss(), list(held.values()))
    assert worst_case(held, loss, radii, norm, first=(value, slopes)) == found


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_stays_in_the_ball(norm):
    held, loss = network()
    before = {name: weight.detach().clone() for name, weight in held.items()}
    largest = 0.0

    def watched():
        nonlocal largest
        u = torch.cat([((held[n] - before[n]) / before[n].abs()).detach().flatten() for n in held])
        largest = max(largest, (u.abs().max() if norm == "linf" else u.norm()).item())
        return loss()

    worst_case(held, watched, (0.1,), norm, steps=8)
    assert largest == pytest.approx(0.1, rel=1e-3)


def test_a_flat_loss_and_weights_of_zero():
    held = {"w": nn.Parameter(torch.zeros(3))}
    assert worst_case(held, lambda: held["w"].sum(), (0.1,), "l2")[0].increase == 0
    assert worst_case(held, lambda: 0 * held["w"].sum(), (0.1,), "linf", adaptive=False)[0].increase == 0


def test_weights_are_back_after_an_exception():
    held, loss = network()
    before = {name: weight.detach().clone() for name, weight in held.items()}
    calls = []

    def breaks():
        calls.append(1)
        if len(calls) == 5:
            raise KeyError
        return loss()

    with pytest.raises(KeyError):
        worst_case(held, breaks, (0.5,), "linf")
    assert all(torch.equal(held[name], before[name]) for name in held)


def test_checkpoints_of_croce_and_hein():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == [1]
