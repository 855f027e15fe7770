import math

import pytest
import torch
from torch import nn

from tunescope.errors import StudyError
from tunescope.study.component import resolve
from tunescope.training.optimizers import SGD, AdamW, Optimizer

LR = 0.1


def two_steps(optimizer: Optimizer, shape: tuple[int, ...]) -> float:
    """A parameter of ones with gradients 2, then −1."""
    parameter = nn.Parameter(torch.ones(shape))
    built = optimizer.build([parameter], LR)
    for gradient in (2.0, -1.0):
        parameter.grad = torch.full(shape, gradient)
        built.step()
    return parameter.flatten()[0].item()


@pytest.mark.parametrize(("shape", "decay"), [((2, 3), 0.5), ((3,), 0.0), ((1, 1, 3), 0.0), ((1, 3), 0.5)])
def test_adamw_by_hand(shape, decay):
    theta, m, v = 1.0, 0.0, 0.0
    for step, g in enumerate((2.0, -1.0), start=1):
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g
        direction = (m / (1 - 0.8**step)) / (math.sqrt(v / (1 - 0.9**step)) + 1e-8)
        theta -= LR * (direction + decay * theta)
    found = two_steps(AdamW(weight_decay=0.5, betas=(0.8, 0.9)), shape)
    assert found == pytest.approx(theta, abs=1e-6)


@pytest.mark.parametrize(("shape", "decay"), [((2, 3), 0.5), ((3,), 0.0)])
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_by_hand(shape, decay, nesterov):
    theta, velocity = 1.0, 0.0
    for step, gradient in enumerate((2.0, -1.0)):
        g = gradient + decay * theta
        velocity = g if step == 0 else 0.9 * velocity + g
        theta -= LR * (g + 0.9 * velocity if nesterov else velocity)
    assert two_steps(SGD(weight_decay=0.5, nesterov=nesterov), shape) == pytest.approx(theta, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "adamw", "weight_decay": -1}, "weight_decay"),
        ({"kind": "adamw", "betas": [0.9, 1.0]}, "betas"),
        ({"kind": "adamw", "momentum": 0.9}, "unknown key 'momentum'"),
        ({"kind": "sgd", "momentum": 0, "nesterov": True}, "nesterov needs a momentum above 0"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises((StudyError, ValueError), match=message):
        resolve("optimizer", settings)


@pytest.mark.parametrize("optimizer", [AdamW(), SGD()])
def test_nothing_to_train_in_one_group_is_fine(optimizer):
    optimizer.build([nn.Parameter(torch.ones(3))], LR).step()
    assert resolve("optimizer", optimizer.model_dump(mode="json")) == optimizer
