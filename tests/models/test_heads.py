import numpy as np
import pytest
import torch

from tunescope.errors import DataError, ModelError
from tunescope.models.heads import LinearHead, text_head

NAMES, TEMPLATES = ["cat", "dog", "bird"], ["a photo of a {}.", "{}"]


def test_a_zero_initialised_head_gives_uniform_probabilities():
    logits = LinearHead(8, 5)(torch.randn(4, 8) * 100)
    assert torch.equal(logits, torch.zeros(4, 5))
    assert torch.equal(logits.softmax(-1), torch.full((4, 5), 0.2))


def test_a_linear_head_learns_from_its_first_step():
    head = LinearHead(4, 3)
    torch.nn.functional.cross_entropy(head(torch.randn(6, 4)), torch.tensor([0, 1, 2, 0, 0, 1])).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_the_zero_shot_head_against_a_slow_reference(tiny, family):
    encoder = tiny(family)
    head = text_head(encoder, NAMES, TEMPLATES)
    features = torch.randn(2, encoder.feature_dim)
    wanted = np.zeros((2, 3))
    with torch.no_grad():
        for c, name in enumerate(NAMES):
            total = np.zeros(encoder.feature_dim)
            for template in TEMPLATES:
                e = encoder.text_features([template.format(name)])[0].double().numpy()
                total += e / np.sqrt((e**2).sum()) / len(TEMPLATES)
            w = total / np.sqrt((total**2).sum())
            for i in range(2):
                f = features[i].double().numpy()
                scale = np.exp(float(encoder.model.logit_scale))
                bias = float(encoder.model.logit_bias) if family == "siglip" else 0.0
                wanted[i, c] = scale * (f / np.sqrt((f**2).sum())) @ w + bias
    np.testing.assert_allclose(head(features).detach().numpy(), wanted, atol=2e-5)
    torch.testing.assert_close(head.weight.norm(dim=-1), torch.ones(3))


def test_the_zero_shot_head_is_a_copy_that_can_be_trained(tiny):
    encoder = tiny("clip")
    head = text_head(encoder, NAMES, TEMPLATES)
    assert [name for name, _ in head.named_parameters()] == ["weight"]
    assert head.state_dict().keys() == {"weight", "scale", "bias"}
    before = head.scale.clone()
    with torch.no_grad():
        encoder.model.logit_scale.add_(1)
    assert torch.equal(head.scale, before)
    head(torch.randn(2, encoder.feature_dim)).sum().backward()
    assert all(p.grad is None for p in encoder.model.parameters())


def test_braces_in_a_class_name_are_only_letters(tiny):
    assert text_head(tiny("clip"), ["{0}", "}{"], ["a {}."]).weight.shape == (2, 24)


@pytest.mark.parametrize(
    ("names", "templates", "message"),
    [([], TEMPLATES, "got 0 and 2"), (NAMES, [], "got 3 and 0"), (NAMES, ["a photo"], "'a photo' has no {}")],
)
def test_what_no_head_can_be_made_of(tiny, names, templates, message):
    with pytest.raises(DataError, match=message):
        text_head(tiny("clip"), names, templates)


def test_no_text_tower_no_zero_shot_head(tiny):
    with pytest.raises(ModelError, match="no text tower"):
        text_head(tiny("vit"), NAMES, TEMPLATES)
