from copy import deepcopy
from typing import Any

import pytest
import torch
from families import IMAGE_SIZE

from tunescope.errors import MethodError, StudyError
from tunescope.methods.adalora import AdaLoRA, InstalledAdaLoRA

STEPS = 20


def step(installed: InstalledAdaLoRA, optimizer: torch.optim.Optimizer, number: int) -> None:
    pixels = torch.randn(4, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(number))
    optimizer.zero_grad()
    installed.encoder.image_features(pixels).square().mean().backward()
    optimizer.step()


def installed_with(tiny, **settings):
    torch.manual_seed(0)
    settings = {"rank": 1, "initial": 3, "orthogonal": 0.0, "start": 0.1, "end": 0.7} | settings
    installed = AdaLoRA(**settings).install(tiny("vit"))
    return installed, torch.optim.AdamW(installed.trainable.values(), lr=1e-2)


@pytest.mark.parametrize("every", [1, 3])
def test_it_prunes_as_the_allocator_of_peft_does(tiny, every):
    ours, optimizer = installed_with(tiny, every=every)
    theirs, other = installed_with(tiny, every=every)
    assert theirs.peft is not None
    config: Any = theirs.peft.peft_config["default"]
    allocator: Any = theirs.peft.base_model
    config.total_step, config.tinit, config.tfinal, config.deltaT = STEPS, 2, STEPS - 14, every
    left = []
    for number in range(1, STEPS + 1):
        step(ours, optimizer, number)
        ours.after_step(number, STEPS)
        step(theirs, other, number)
        allocator.update_and_allocate(number)
        for name, parameter in ours.trainable.items():
            assert torch.equal(parameter, theirs.trainable[name]), (number, name)
        left.append(sum(int(p.count_nonzero()) for name, p in ours.trainable.items() if "lora_E" in name))
    assert left[1] == 6 * 3  # six matrices, none pruned before the start
    assert left[-1] == left[13] == 6 * 1
    kept = [int(b.sum()) for name, b in ours.buffers.items() if name.endswith("kept")]
    assert sum(kept) == 6
    assert set(kept) != {1}  # the budget is shared, not dealt out evenly


def test_what_is_saved_is_enough_to_go_on(tiny):
    straight, optimizer = installed_with(tiny, orthogonal=0.1)
    for number in range(1, 9):
        step(straight, optimizer, number)
        straight.after_step(number, STEPS)
    state, moments = straight.state_dict(), deepcopy(optimizer.state_dict())
    resumed, other = installed_with(tiny, orthogonal=0.1)
    resumed.load_state_dict(state)
    other.load_state_dict(moments)
    for installed, by in ((straight, optimizer), (resumed, other)):
        for number in range(9, STEPS + 1):
            step(installed, by, number)
            installed.after_step(number, STEPS)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_the_gradient_is_that_of_the_loss_and_the_penalty(tiny):
    plain, _ = installed_with(tiny)
    bound, _ = installed_with(tiny, orthogonal=0.3)
    pixels = torch.randn(4, 3, IMAGE_SIZE, IMAGE_SIZE)
    bound.encoder.image_features(pixels).square().mean().backward()
    copies = {name: p.detach().double().requires_grad_() for name, p in plain.trainable.items()}
    penalty = torch.zeros((), dtype=torch.float64)
    for name, matrix in copies.items():
        if "lora_A" in name:
            penalty = penalty + 0.3 * (matrix @ matrix.T - torch.eye(3)).square().sum()
        if "lora_B" in name:
            penalty = penalty + 0.3 * (matrix.T @ matrix - torch.eye(3)).square().sum()
    penalty.backward()
    plain.encoder.image_features(pixels).square().mean().backward()
    for name, parameter in plain.trainable.items():
        added = copies[name].grad
        expected = parameter.grad if added is None else parameter.grad + added.float()
        torch.testing.assert_close(bound.trainable[name].grad, expected, atol=1e-6, rtol=1e-5)


def test_with_one_step_it_ends_at_its_budget(tiny):
    installed, optimizer = installed_with(tiny)
    step(installed, optimizer, 1)
    installed.after_step(1, 1)
    kept = [int(b.sum()) for name, b in installed.buffers.items() if name.endswith("kept")]
    assert sum(kept) <= 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 4, "initial": 3}, "rank=4 is more than initial=3"),
        ({"start": 0.7, "end": 0.7}, "start=0.7 is not before end=0.7"),
        ({"orthogonal": -1}, "orthogonal"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(StudyError, match=message):
        AdaLoRA.parse(settings, "adapt")


def test_a_matrix_that_is_too_small(tiny):
    with pytest.raises(MethodError, match=r"initial=40, but .* is 32 × 32; give at most 32"):
        AdaLoRA(initial=40).install(tiny("vit"))
