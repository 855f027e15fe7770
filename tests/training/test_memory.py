"""What a step holds, against numbers counted by hand."""

import pytest
import torch
from torch import nn

from tunescope.training.memory import MIB, Activations, held


def test_weights_gradients_moments_and_activations_of_a_linear_layer():
    layer = nn.Linear(4, 3)
    optimizer = torch.optim.Adam(layer.parameters())
    x = torch.ones(5, 4)
    kept = Activations(layer.parameters())
    with kept.counting():
        loss = layer(x).relu().sum()
    loss.backward()
    optimizer.step()
    numbers = 4 * 3 + 3
    assert kept.bytes == 4 * (5 * 4 + 5 * 3)  # the input, and what the rectifier gave; not the weights
    steps = 2 * 4  # Adam counts its steps in one number for each tensor
    assert held(layer.parameters(), optimizer, kept) == pytest.approx(
        (4 * numbers * 4 + steps + kept.bytes) / MIB
    )


def test_what_is_kept_twice_and_what_is_a_view_counts_once():
    x = torch.ones(6, requires_grad=True)
    with (kept := Activations([])).counting():
        y = x.exp()  # keeps its result
        _ = y.sin() + y.view(2, 3).cos().sum()  # both keep y
    assert kept.bytes == 6 * 4


def test_frozen_weights_have_no_gradients_and_no_moments():
    frozen = nn.Linear(4, 4).requires_grad_(False)
    head = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(head.parameters(), momentum=0.9)
    with (kept := Activations([*frozen.parameters(), *head.parameters()])).counting():
        loss = head(frozen(torch.ones(3, 4))).sum()
    loss.backward()
    optimizer.step()
    assert kept.bytes == 3 * 4 * 4  # what enters the head; nothing for the frozen layer
    assert held([*frozen.parameters(), *head.parameters()], optimizer, kept) == pytest.approx(
        (4 * (20 + 3 * 10) + kept.bytes) / MIB
    )
