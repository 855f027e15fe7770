import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from colours import TRAIN, VAL
from colours import spec as colour_spec
from pooled_rows import examples, sharpen
from torch import Tensor

from tunescope.errors import MethodError
from tunescope.methods.full import Full
from tunescope.models.tokens import pooled_tokens
from tunescope.objectives import kept
from tunescope.objectives.ldifs import LDIFS
from tunescope.objectives.objective import Shown
from tunescope.training.loop import train

BATCH = np.array([5, 2, 6])
FAMILIES = ["clip", "siglip", "vit", "dinov2_registers"]


def reference(family: str, model, pixels: Tensor, layers: str) -> list[Tensor]:
    """Φ in parts, image by image, by transformers' own `output_hidden_states` in float64."""
    model.set_attn_implementation("eager")
    if family in ("clip", "siglip"):
        output = model.vision_model(pixel_values=pixels.double(), output_hidden_states=True)
        features = model.get_image_features(pixel_values=pixels.double())
        features = features if isinstance(features, Tensor) else features.pooler_output
    else:
        output = model(pixel_values=pixels.double(), output_hidden_states=True)
        features = output.last_hidden_state[:, 0]
    tokens = [(h.mean(1) if family == "siglip" else h[:, 0]) for h in output.hidden_states[1:]]
    return [*(tokens if layers == "all" else []), features]


@pytest.mark.parametrize("layers", ["last", "all"])
@pytest.mark.parametrize("family", FAMILIES)
def test_value_and_gradient_against_hidden_states_in_float64(tiny, family, layers):
    encoder, data = tiny(family), examples(7)
    penalty = LDIFS(weight=0.3, layers=layers)
    base = copy.deepcopy(encoder.model).double()
    state = penalty.prepare(encoder, "vision", data)
    Full().install(encoder)
    sharpen(encoder.model)
    tuned = copy.deepcopy(encoder.model).double()
    pixels = encoder.pixels(data.inputs[BATCH])
    with torch.no_grad():
        before = reference(family, base, pixels, layers)
    now = reference(family, tuned, pixels, layers)
    assert len(now) == (4 if layers == "all" else 1)
    terms = [
        ((a - b) ** 2).sum() for x, y in zip(now, before, strict=True) for a, b in zip(x, y, strict=True)
    ]
    expected = 0.3 * sum(terms, torch.zeros(())) / len(BATCH)
    expected.backward()
    with pooled_tokens(encoder, "vision") as tokens:
        features = encoder.image_features(pixels)
    shown = Shown(features, tokens=tokens if layers == "all" else None)
    value = penalty.value(state, shown, BATCH)
    value.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)
    assert value.item() > 1e-3
    wanted = {name: p.grad for name, p in tuned.named_parameters() if p.grad is not None}
    scale = max(gradient.abs().max().item() for gradient in wanted.values())
    for name, parameter in encoder.model.named_parameters():
        ours = torch.zeros(parameter.shape) if parameter.grad is None else parameter.grad
        theirs = wanted.get(name, torch.zeros(parameter.shape)).float()
        torch.testing.assert_close(ours, theirs, atol=2e-5 * max(scale, 1), rtol=0, msg=name)


def run(encoder, said, reuse=True):
    head = said.objective.build_head(encoder, TRAIN.class_names, TRAIN.templates)
    torch.manual_seed(0)
    installed = said.adapt.install(encoder)
    history = train(encoder, installed, head, said, TRAIN, VAL, reuse=reuse)
    values = [row.value for row in history.rows if row.metric == "training.penalty"]
    return history, values, installed.state_dict()


@pytest.mark.parametrize("layers", ["last", "all"])
@pytest.mark.parametrize("adapt", ["full", {"kind": "lora", "rank": 2}], ids=["full", "lora"])
def test_nothing_before_the_first_step_and_something_after_it(tiny, adapt, layers):
    penalty, objective = {"kind": "ldifs", "layers": layers}, {"kind": "cross_entropy", "head": "text"}
    said = colour_spec(adapt, lr=1e-2, warmup=0, epochs=1, objective=objective, penalties=[penalty])
    _, values, _ = run(tiny("clip"), said)
    assert abs(values[0]) < 1e-7
    assert values[1] > 1e-4


def test_prompts_are_off_while_the_base_is_looked_at(tiny):
    said = colour_spec({"kind": "vpt_shallow", "prompts": 4}, epochs=1, penalties=["ldifs"])
    _, values, _ = run(tiny("siglip"), said)
    assert values[0] > 1e-4  # prompts change the features before they have learnt anything


@pytest.mark.parametrize("layers", ["last", "all"])
def test_what_is_computed_once_is_exact_or_left_alone(tiny, layers):
    penalty = {"kind": "ldifs", "layers": layers, "weight": 1.0}
    said = colour_spec({"kind": "freeze", "blocks": 2}, lr=1e-2, penalties=[penalty])
    history, values, kept_once = run(tiny("clip"), said)
    reused = history.log[0]["reused"]
    assert reused == ("prefix" if layers == "last" else None)
    if layers == "all":
        assert history.log[0]["because"] == "a penalty looks into every block"
    _, expected, every_time = run(tiny("clip"), said, reuse=False)
    assert values == pytest.approx(expected, rel=1e-3, abs=1e-6)
    for name, value in every_time.items():
        torch.testing.assert_close(kept_once[name], value, atol=1e-4, rtol=1e-3, msg=name)


def test_texts_of_other_lengths_than_their_neighbours_before(tiny):
    encoder = tiny("bert")
    texts = np.array(["a", "a longer text", "of middling length", "b", "c"], dtype=object)
    data = replace(examples(5), inputs=texts)
    penalty = LDIFS()
    state = penalty.prepare(encoder, "text", data)
    assert state.shape == (5, 4 * 32)
    with pooled_tokens(encoder, "text") as tokens:
        features = encoder.features(texts[[0, 3]])
    assert penalty.value(state, Shown(features, tokens=tokens), np.array([0, 3])).item() < 1e-7


def test_more_than_fits_is_refused_before_it_is_computed(tiny, monkeypatch):
    monkeypatch.setattr(kept, "LIMIT", 70 * 4 * 100)
    encoder = tiny("clip")
    LDIFS(layers="last").prepare(encoder, "vision", examples(70))
    with pytest.raises(MethodError, match=r"penalty ldifs: .* 70 examples .* take layers: last"):
        LDIFS().prepare(encoder, "vision", examples(70))
