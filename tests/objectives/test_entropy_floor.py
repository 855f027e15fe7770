from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from eager import eager as eager_rows
from pooled_rows import PREFIX, attention_rows, eager, examples, sharpen
from torch import Tensor, nn

from tunescope.data.examples import Examples
from tunescope.errors import StudyError
from tunescope.methods.full import Full
from tunescope.models.seam import watch
from tunescope.objectives.entropy_floor import EntropyFloor, mean_entropy
from tunescope.objectives.objective import Shown


def entropies(family: str, model: nn.Module, pixels: Tensor) -> list[list[Tensor]]:
    """Mean entropy per layer and head, by plain loops."""
    found = []
    for rows in attention_rows(family, model, pixels):
        heads = []
        for head in range(rows.shape[1]):
            total = torch.zeros((), dtype=torch.float64)
            for row in rows[:, head]:
                kept = row[PREFIX[family] :] / row[PREFIX[family] :].sum()
                total = total - (kept * kept.log()).sum()
            heads.append(total / len(rows))
        found.append(heads)
    return found


def reference(
    family: str,
    base: nn.Module,
    model: nn.Module,
    pixels: tuple[Tensor, Tensor],
    per: Literal["layer", "head"],
) -> tuple[Tensor, int]:
    """The penalty with weight 0.3 and fraction 0.9, and how many of its hinges act."""
    terms: list[Tensor] = []
    before, now = entropies(family, base, pixels[0]), entropies(family, model, pixels[1])
    for layer_before, layer_now in zip(before, now, strict=True):
        gaps = [0.9 * a.detach() - b for a, b in zip(layer_before, layer_now, strict=True)]
        terms += gaps if per == "head" else [torch.stack(gaps).mean()]
    acting = [term for term in terms if term > 0]
    return 0.3 * sum(acting, torch.zeros(())) / len(terms), len(acting)


@pytest.mark.parametrize("per", ["layer", "head"])
@pytest.mark.parametrize("family", PREFIX)
def test_value_and_gradient_against_eager_attention_in_float64(tiny, family, per):
    encoder = tiny(family)
    base = eager(encoder.model)
    data = examples(7)
    penalty = EntropyFloor(weight=0.3, fraction=0.9, per=per)
    floor = penalty.prepare(encoder, "vision", data)
    Full().install(encoder)
    sharpen(encoder.model)
    tuned = eager(encoder.model)
    pixels = encoder.pixels(data.inputs), encoder.pixels(data.inputs[2:6])
    expected, acting = reference(family, base, tuned, pixels, per)
    expected.backward()
    with watch(encoder, "vision", rows="pool", grad=True) as seen:
        features = encoder.image_features(pixels[1])
        value = penalty.value(floor, Shown(features, seen), np.arange(4))
        value.backward()
    assert acting > 0
    assert value.item() == pytest.approx(expected.item(), abs=1e-6)
    wanted = {name: p.grad for name, p in tuned.named_parameters() if p.grad is not None}
    scale = max(gradient.abs().max().item() for gradient in wanted.values())
    assert scale > 1e-3
    for name, parameter in encoder.model.named_parameters():
        zero = torch.zeros(parameter.shape)
        ours = zero if parameter.grad is None else parameter.grad
        theirs = wanted.get(name, zero).float()
        torch.testing.assert_close(ours, theirs, atol=1e-5 * max(scale, 1), rtol=0, msg=name)


def test_above_the_floor_nothing_acts(tiny):
    encoder = tiny("vit")
    Full().install(encoder)
    penalty = EntropyFloor(fraction=0.5)
    floor = penalty.prepare(encoder, "vision", examples(4))
    with watch(encoder, "vision", rows="pool", grad=True) as seen:
        features = encoder.features(examples(4).inputs)
        value = penalty.value(floor, Shown(features, seen), np.arange(4))
        value.backward()
    assert value.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in encoder.model.parameters())


def test_the_sample_is_evenly_spaced(tiny):
    encoder, data = tiny("vit"), examples(9)
    picked = Examples(data.inputs[[0, 3, 6]], data.labels[:3], data.ids[:3], ("a", "b"), ("{}",), "train")
    some = EntropyFloor(sample=3).prepare(encoder, "vision", data)
    assert torch.equal(some.height, EntropyFloor().prepare(encoder, "vision", picked).height)
    assert not torch.allclose(some.height, EntropyFloor().prepare(encoder, "vision", data).height)


@pytest.mark.parametrize("per", ["layer", "head"])
def test_of_texts_every_token_counts_and_padding_never(tiny, per):
    encoder = tiny("bert")
    texts = np.array(["a", "a much longer text than that", "b c"], dtype=object)
    data = replace(examples(3), inputs=texts)
    one_by_one: list[np.ndarray] = []
    for text in texts:  # by itself it has no padding at all
        rows = eager_rows(encoder, "text", **encoder.tokens([text])).rows
        one_by_one.append(np.stack([-(row[0, :, 0] * np.log(row[0, :, 0])).sum(-1) for row in rows]))
    expected = np.mean(one_by_one, 0)
    penalty = EntropyFloor(weight=1.0, fraction=1.5, per=per)
    floor = penalty.prepare(encoder, "text", data)
    np.testing.assert_allclose(floor.height.numpy(), 1.5 * expected, rtol=1e-4)
    with watch(encoder, "text", rows="pool", grad=True) as seen:
        value = penalty.value(floor, Shown(encoder.features(texts), seen), np.arange(3))
    assert value.item() == pytest.approx(0.5 * expected.mean(), rel=1e-4)


def test_attention_on_cls_alone_is_no_obstacle():
    """Nothing is left for the patches in float32, and where it would go is known all the same."""
    logits = torch.tensor([[[[300.0, 0.0, 0.0]]]], requires_grad=True)
    found = mean_entropy(logits, 1)
    found.sum().backward()
    assert found.item() == pytest.approx(np.log(2))
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_attention_on_a_single_patch_has_a_finite_gradient():
    logits = torch.tensor([[[[0.0, 500.0, 0.0, 0.0]]]], requires_grad=True)
    mean_entropy(logits, 1).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("settings", [{"weight": 0}, {"fraction": 0}, {"per": "block"}, {"sample": 0}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(StudyError, match=next(iter(settings))):
        EntropyFloor.parse({"kind": "entropy_floor", **settings}, "penalties.0")
