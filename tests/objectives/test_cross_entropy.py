import math

import pytest
import torch

from tunescope.errors import ModelError, StudyError
from tunescope.objectives.cross_entropy import CrossEntropy

NAMES, TEMPLATES = ("cat", "dog", "red car"), ("a photo of a {}.", "a {}.")


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_against_the_definition(smoothing):
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 3, 2, 2, 1])
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        norm = math.log(sum(math.exp(z) for z in row))
        targets = [(1 - smoothing) * (c == label) + smoothing / 4 for c in range(4)]
        total -= sum(t * (z - norm) for t, z in zip(targets, row, strict=True))
    loss = CrossEntropy(label_smoothing=smoothing).loss(torch.nn.Identity(), logits, labels)
    assert loss.item() == pytest.approx(total / 5, abs=1e-6)


def test_the_linear_head_starts_uniform(tiny):
    encoder = tiny("dinov2")
    head = CrossEntropy().build_head(encoder, NAMES, TEMPLATES)
    logits = head(torch.randn(2, encoder.feature_dim))
    assert torch.equal(logits, torch.zeros(2, 3))
    assert sum(p.numel() for p in head.parameters() if p.requires_grad) == 3 * encoder.feature_dim + 3


def test_the_text_head_starts_as_the_zero_shot_classifier_and_is_trained(tiny):
    encoder = tiny("clip")
    head = CrossEntropy(head="text").build_head(encoder, NAMES, TEMPLATES)
    features = torch.randn(2, encoder.feature_dim)
    with torch.no_grad():
        wanted = []
        for name in NAMES:
            each = [encoder.text_features([template.format(name)])[0] for template in TEMPLATES]
            mean = each[0] / each[0].norm() + each[1] / each[1].norm()
            wanted.append(mean / mean.norm())
        unit = features / features.norm(dim=1, keepdim=True)
        expected = encoder.model.logit_scale.exp() * unit @ torch.stack(wanted).T
    torch.testing.assert_close(head(features), expected, atol=1e-5, rtol=0)
    assert [name for name, p in head.named_parameters() if p.requires_grad] == ["weight"]


def test_a_text_head_needs_a_text_tower(tiny):
    with pytest.raises(ModelError, match="no text tower"):
        CrossEntropy(head="text").build_head(tiny("vit"), NAMES, TEMPLATES)


@pytest.mark.parametrize("settings", [{"label_smoothing": 1.0}, {"head": "zero"}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(StudyError, match=next(iter(settings))):
        CrossEntropy.parse({"kind": "cross_entropy", **settings}, "objective")
