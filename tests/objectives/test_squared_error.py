import pytest
import torch
from torch import Tensor

from tunescope.methods.full import Full
from tunescope.models.heads import LinearHead
from tunescope.objectives.squared_error import SquaredError


def test_the_head_has_one_output_that_starts_at_zero(tiny):
    encoder = tiny("clip")
    head = SquaredError().build_head(encoder, (), ("{}",))
    features = encoder.text_features(["one", "two"])
    assert head(features).tolist() == [[0.0], [0.0]]
    assert sum(p.numel() for p in head.parameters()) == encoder.feature_dim + 1


def test_loss_and_gradient_are_those_by_hand(tiny):
    encoder = tiny("clip")
    Full().install(encoder, "text")
    head = SquaredError().build_head(encoder, (), ("{}",))
    assert isinstance(head, LinearHead)
    torch.manual_seed(0)
    torch.nn.init.normal_(head.linear.weight)
    features = encoder.text_features(["one", "two", "three"]).detach()
    labels = torch.tensor([0.0, 2.5, 5.0], dtype=torch.float64)
    loss = SquaredError().loss(head, features, labels)
    loss.backward()
    weight = head.linear.weight[0].tolist()
    outputs = [sum(w * x for w, x in zip(weight, row, strict=True)) for row in features.tolist()]
    gaps = [z - y for z, y in zip(outputs, labels.tolist(), strict=True)]
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(sum(gap**2 for gap in gaps) / 3, rel=1e-5)
    assert isinstance(head.linear.bias.grad, Tensor)
    assert head.linear.bias.grad.item() == pytest.approx(2 * sum(gaps) / 3, rel=1e-5)
