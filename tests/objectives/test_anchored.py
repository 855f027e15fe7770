"""Penalties that hold parameters to where they started: L2-SP and EWC."""

import copy

import numpy as np
import pytest
import torch
from pooled_rows import examples
from torch import nn

from tunescope.data.examples import Examples
from tunescope.errors import ModelError
from tunescope.methods.freeze import Freeze
from tunescope.methods.lora import LoRA
from tunescope.objectives.ewc import EWC
from tunescope.objectives.l2_sp import L2SP

NONE = np.arange(0)


def move(params, amount: float = 0.1) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in params:
            p.add_(amount * torch.randn(p.shape, generator=generator))


@pytest.mark.parametrize("method", [Freeze(blocks=1), LoRA(rank=2)], ids=["freeze", "lora"])
def test_l2_sp_against_plain_sums(tiny, method):
    encoder = tiny("vit")
    installed = method.install(encoder)
    penalty = L2SP(weight=0.3)
    state = penalty.prepare(encoder, "vision", examples(4))
    assert penalty.value(state, None, NONE).item() == 0
    start = {name: p.detach().double().clone() for name, p in installed.trainable.items()}
    move(installed.trainable.values())
    value = penalty.value(state, None, NONE)
    value.backward()
    gaps = {name: p.detach().double() - start[name] for name, p in installed.trainable.items()}
    expected = 0.15 * sum(float((gap * gap).sum()) for gap in gaps.values())
    assert value.item() == pytest.approx(expected, rel=1e-5)
    for name, p in installed.trainable.items():
        assert p.grad is not None
        torch.testing.assert_close(p.grad, (0.3 * gaps[name]).float(), atol=1e-6, rtol=1e-5)
    frozen = [p for p in encoder.model.parameters() if not p.requires_grad]
    assert frozen
    assert all(p.grad is None for p in frozen)


def zero_shot(encoder, data: Examples) -> nn.Module:
    """A float64 copy of CLIP that says ln p(class | image), through transformers' own parts alone."""
    model = copy.deepcopy(encoder.model).double()
    model.set_attn_implementation("eager")
    texts = []
    for name in data.class_names:
        said = [template.format(name) for template in data.templates]
        prompts = encoder.tokenizer(said, return_tensors="pt", padding=True)
        embedded = model.text_projection(model.text_model(**prompts).pooler_output).detach()
        unit = embedded / embedded.norm(dim=-1, keepdim=True)
        mean = unit.mean(0)
        texts.append(mean / mean.norm())

    class Zero(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, pixels):
            image = model.visual_projection(model.vision_model(pixel_values=pixels.double()).pooler_output)
            unit = image / image.norm(dim=-1, keepdim=True)
            return (model.logit_scale.exp() * unit @ torch.stack(texts).T).log_softmax(-1)

    return Zero()


def test_ewcs_fisher_against_one_image_at_a_time_in_float64(tiny):
    encoder, data = tiny("clip"), examples(9)
    reference = zero_shot(encoder, data)
    installed = Freeze(blocks=2).install(encoder)
    penalty = EWC(weight=0.5, sample=4)
    state = penalty.prepare(encoder, "vision", data)
    generator = torch.Generator().manual_seed(0)
    params = {name.removeprefix("model."): p for name, p in reference.named_parameters()}
    expected = {name: torch.zeros(p.shape, dtype=torch.float64) for name, p in installed.trainable.items()}
    for index in (0, 2, 4, 6):  # four of nine, evenly spaced
        log_p = reference(encoder.pixels(data.inputs[index : index + 1]))[0]
        drawn = int(torch.multinomial(log_p.detach().exp().float(), 1, generator=generator))
        reference.zero_grad()
        log_p[drawn].backward()
        for name in expected:
            gradient = params[name].grad
            assert gradient is not None
            expected[name] += gradient**2 / 4
    assert max(value.max() for value in expected.values()) > 0
    for name, value in expected.items():
        atol = 1e-4 * float(value.max()) + 1e-12
        torch.testing.assert_close(state.fisher[name].double(), value, atol=atol, rtol=1e-3, msg=name)
    assert penalty.value(state, None, NONE).item() == 0
    assert all(p.grad is None for p in encoder.model.parameters())
    start = {name: p.detach().clone() for name, p in installed.trainable.items()}
    move(installed.trainable.values())
    moved = sum(
        float((state.fisher[name].double() * (p.detach() - start[name]).double() ** 2).sum())
        for name, p in installed.trainable.items()
    )
    assert penalty.value(state, None, NONE).item() == pytest.approx(0.25 * moved, rel=1e-5)


def test_ewc_measures_the_same_twice_and_leaves_random_numbers_alone(tiny):
    encoder, data = tiny("siglip"), examples(5)
    LoRA(rank=2).install(encoder)
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    one, other = (EWC(sample=3).prepare(encoder, "vision", data) for _ in range(2))
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(one.fisher[name], other.fisher[name]) for name in one.fisher)
    assert any(value.any() for value in one.fisher.values())


def test_ewc_needs_a_zero_shot_classifier(tiny):
    encoder = tiny("vit")
    Freeze(blocks=2).install(encoder)
    with pytest.raises(ModelError, match="no text tower"):
        EWC().prepare(encoder, "vision", examples(3))
