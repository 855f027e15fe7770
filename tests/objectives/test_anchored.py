"""Penalties that hold parameters to where they started or to zero: L2-SP, EWC, weight decay."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from colours import TRAIN, VAL, spec
from pooled_rows import examples
from torch import nn

from tunescope.data.examples import Examples
from tunescope.errors import ModelError
from tunescope.methods.freeze import Freeze
from tunescope.methods.full import Full
from tunescope.methods.last_k import LastK
from tunescope.methods.lora import LoRA
from tunescope.methods.per_tower import PerTower
from tunescope.methods.vpt_shallow import VPTShallow
from tunescope.models.heads import LinearHead
from tunescope.objectives.ewc import EWC
from tunescope.objectives.l2_sp import L2SP
from tunescope.objectives.objective import Shown
from tunescope.objectives.weight_decay import WeightDecay
from tunescope.training.loop import train

NONE, NOTHING = np.arange(0), Shown(torch.zeros(0))


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
    assert penalty.value(state, NOTHING, NONE).item() == 0
    start = {name: p.detach().double().clone() for name, p in installed.trainable.items()}
    move(installed.trainable.values())
    value = penalty.value(state, NOTHING, NONE)
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


@pytest.mark.parametrize("method", [Full(), LoRA(rank=2), VPTShallow(prompts=2)], ids=lambda m: m.kind)
def test_weight_decay_against_plain_sums(tiny, method):
    encoder = tiny("vit")
    installed = method.install(encoder)
    move(installed.trainable.values())
    penalty = WeightDecay(weight=0.3)
    state = penalty.prepare(encoder, "vision", examples(4))
    value = penalty.value(state, NOTHING, NONE)
    value.backward()
    held = {name: p.detach().double() for name, p in installed.trainable.items()}
    assert value.item() == pytest.approx(0.15 * sum(float((p * p).sum()) for p in held.values()), rel=1e-5)
    for name, p in installed.trainable.items():
        assert p.grad is not None
        torch.testing.assert_close(p.grad, (0.3 * held[name]).float(), atol=1e-6, rtol=1e-5)
    assert all(p.grad is None for p in encoder.model.parameters() if not p.requires_grad)


def test_through_sgd_weight_decay_is_that_of_the_optimiser_for_all_weights(tiny):
    """θ ← θ − lr·(g + λ·θ), with the same g: nothing else pulls at the first step, the head being zero."""
    encoder = tiny("vit")
    start = {name: p.detach().clone() for name, p in encoder.model.named_parameters()}
    penalty = {"kind": "weight_decay", "weight": 0.5}
    said = spec(
        "full",
        lr=0.1,
        penalties=[penalty],
        optimizer={"kind": "sgd", "momentum": 0},
        **{"epochs": 1, "batch_size": 22, "warmup": 0, "clip_norm": None, "schedule": "constant"},
    )
    assert isinstance(said.adapt, Full)
    installed = said.adapt.install(encoder)
    head = LinearHead(encoder.feature_dim, 3)
    train(encoder, installed, head, said, TRAIN, VAL)
    for name, p in installed.trainable.items():
        torch.testing.assert_close(p.detach(), start[name] * (1 - 0.1 * 0.5), msg=name)
    assert head.linear.weight.any()  # left free


def zero_shot(encoder, data: Examples, through: bool = False) -> nn.Module:
    """A float64 copy of CLIP that says ln p(class | image), by transformers' own parts alone; `through`: with
    gradients to the text tower.
    """
    model = copy.deepcopy(encoder.model).double().requires_grad_(True)
    model.set_attn_implementation("eager")

    def embedded(name: str) -> torch.Tensor:
        said = [template.format(name) for template in data.templates]
        prompts = encoder.tokenizer(said, return_tensors="pt", padding=True)
        texts = model.text_projection(model.text_model(**prompts).pooler_output)
        texts = texts if through else texts.detach()
        mean = (texts / texts.norm(dim=-1, keepdim=True)).mean(0)
        return mean / mean.norm()

    class Zero(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, pixels):
            image = model.visual_projection(model.vision_model(pixel_values=pixels.double()).pooler_output)
            unit = image / image.norm(dim=-1, keepdim=True)
            return (
                model.logit_scale.exp() * unit @ torch.stack([embedded(name) for name in data.class_names]).T
            ).log_softmax(-1)

    return Zero()


WAYS = {"freeze": Freeze(blocks=2), "both": PerTower(vision=Freeze(blocks=2), text=LastK(blocks=1))}


@pytest.mark.parametrize("way", WAYS)
def test_ewcs_fisher_against_one_image_at_a_time_in_float64(tiny, way):
    encoder, data = tiny("clip"), examples(9)
    reference = zero_shot(encoder, data, through=way == "both")
    installed = WAYS[way].install(encoder)
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
    for tower in {name.split("_")[0] for name in expected}:
        assert max(value.max() for name, value in expected.items() if name.startswith(tower)) > 0
    for name, value in expected.items():
        atol = 1e-4 * float(value.max()) + 1e-12
        torch.testing.assert_close(state.fisher[name].double(), value, atol=atol, rtol=1e-3, msg=name)
    assert penalty.value(state, NOTHING, NONE).item() == 0
    assert all(p.grad is None for p in encoder.model.parameters())
    start = {name: p.detach().clone() for name, p in installed.trainable.items()}
    move(installed.trainable.values())
    moved = sum(
        float((state.fisher[name].double() * (p.detach() - start[name]).double() ** 2).sum())
        for name, p in installed.trainable.items()
    )
    assert penalty.value(state, NOTHING, NONE).item() == pytest.approx(0.25 * moved, rel=1e-5)


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


@pytest.mark.parametrize(
    ("family", "tower", "lacks"), [("vit", "vision", "no text tower"), ("bert", "text", "no vision tower")]
)
def test_ewc_needs_a_zero_shot_classifier(tiny, family, tower, lacks):
    encoder, data = tiny(family), examples(3)
    if tower == "text":
        data = replace(data, inputs=np.array(["one", "two", "three"], dtype=object))
    Freeze(blocks=2).install(encoder, tower)
    with pytest.raises(ModelError, match=lacks):
        EWC().prepare(encoder, tower, data)


def test_ewc_of_texts_is_over_clips_own_text_tower(tiny):
    encoder = tiny("clip")
    data = replace(examples(3), inputs=np.array(["one", "two", "three"], dtype=object))
    Full().install(encoder, "text")
    state = EWC().prepare(encoder, "text", data)
    assert sum(float(value.sum()) for value in state.fisher.values()) > 0
