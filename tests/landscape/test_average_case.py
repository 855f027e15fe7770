"""Average-case sharpness against closed forms in float64."""

import numpy as np
import pytest
import torch

from tunescope.errors import ModelError
from tunescope.landscape.average_case import average_case
from tunescope.landscape.perturb import noise


def linear_model(dtype=torch.float64):
    """Squared loss of a linear model: L(w) = ‖Xw − y‖²/n, whose Hessian is 2XᵀX/n."""
    generator = torch.Generator().manual_seed(0)
    x, y = (
        torch.randn(40, 5, generator=generator, dtype=dtype),
        torch.randn(40, generator=generator, dtype=dtype),
    )
    weight = torch.nn.Parameter(torch.randn(5, generator=generator, dtype=dtype), requires_grad=False)
    return weight, lambda: (x @ weight - y).square().mean(), 2 * x.T @ x / 40


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_quadratic_loss_exactly_and_in_expectation(adaptive):
    weight, loss, hessian = linear_model()
    radii, draws = (0.1, 0.4), 400
    found = average_case({"w": weight}, loss, radii, draws=draws, adaptive=adaptive, seed=7)
    scale = weight.abs() if adaptive else torch.ones(5)
    for draw in range(draws):
        u = scale * next(noise(["w"], [weight], 7, draw))
        for at, radius in enumerate(radii):
            exact = 0.5 * radius**2 * (u @ hessian @ u).item()
            assert found[at, draw] == pytest.approx(exact, rel=1e-9)  # the gradient has cancelled
    expected = 0.5 * radii[1] ** 2 * (scale.square() * hessian.diag()).sum().item()
    error = found[1].std(ddof=1) / np.sqrt(draws)
    assert abs(found[1].mean() - expected) < 4 * error
    assert error < 0.1 * expected


def test_several_losses_share_their_draws_and_nothing_depends_on_the_others():
    weight, loss, _ = linear_model(torch.float32)
    both = average_case({"w": weight}, lambda: torch.stack([loss(), 2 * loss()]), (0.2,), draws=3)
    assert both.shape == (1, 3, 2)
    np.testing.assert_allclose(both[..., 1], 2 * both[..., 0], rtol=1e-6)
    alone = average_case({"w": weight}, loss, (0.2,), draws=2)
    np.testing.assert_array_equal(alone, both[:, :2, 0])  # to the last bit
    grid = average_case({"w": weight}, loss, (0.1, 0.2), draws=2)
    np.testing.assert_allclose(grid[1], alone[0], rtol=1e-4)


def test_the_steep_weights_are_the_ones_it_names():
    weights = {f"layer{i}": torch.nn.Parameter(torch.ones(20)) for i in range(4)}

    def loss():
        each = [(50.0 if name == "layer2" else 1.0) * w.square().mean() for name, w in weights.items()]
        return torch.stack(each).sum()

    each = {
        name: average_case({name: weight}, loss, (0.1,), draws=4).mean() for name, weight in weights.items()
    }
    assert max(each, key=each.__getitem__) == "layer2"
    assert each["layer2"] > 20 * each["layer1"]


def test_weights_are_back_bit_for_bit_after_an_exception_too():
    weight, loss, _ = linear_model(torch.float32)
    before = weight.clone()
    average_case({"w": weight}, loss, (0.8, 0.1), draws=3)
    assert torch.equal(weight, before)
    seen = []

    def breaks():
        seen.append(weight.clone())
        return torch.tensor(float("nan")) if len(seen) == 3 else loss()

    with pytest.raises(ModelError, match="not finite"):
        average_case({"w": weight}, breaks, (0.1,), draws=3)
    assert not torch.equal(seen[-1], before)
    assert torch.equal(weight, before)
