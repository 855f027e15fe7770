from dataclasses import replace

import numpy as np
import pytest
import torch
from eager import eager as eager_rows
from eager import pooled
from pooled_rows import PREFIX, attention_rows, eager, examples, sharpen
from torch import Tensor

from tunescope.errors import MethodError
from tunescope.methods.full import Full
from tunescope.models.seam import watch
from tunescope.objectives import kept
from tunescope.objectives.attention_kl import AttentionKL
from tunescope.objectives.objective import Shown

BATCH = np.array([5, 2, 6])


def reference(family: str, before: list[Tensor], now: list[Tensor]) -> Tensor:
    """The penalty with weight 0.3, by plain loops over images, layers and heads."""
    terms = []
    for rows_before, rows_now in zip(before, now, strict=True):
        for image in range(len(rows_now)):
            for head in range(rows_now.shape[1]):
                a0 = rows_before[image, head, PREFIX[family] :]
                a = rows_now[image, head, PREFIX[family] :]
                a0, a = a0 / a0.sum(), a / a.sum()
                terms.append(sum(p * (p.log() - q.log()) for p, q in zip(a0, a, strict=True)))
    return 0.3 * sum(terms, torch.zeros(())) / len(terms)


@pytest.mark.parametrize("family", PREFIX)
def test_value_and_gradient_against_eager_attention_in_float64(tiny, family):
    encoder, data = tiny(family), examples(7)
    penalty = AttentionKL(weight=0.3)
    pixels = encoder.pixels(data.inputs[BATCH])
    with torch.no_grad():
        before = attention_rows(family, eager(encoder.model), pixels)
    state = penalty.prepare(encoder, "vision", data)
    Full().install(encoder)
    sharpen(encoder.model)
    tuned = eager(encoder.model)
    expected = reference(family, before, attention_rows(family, tuned, pixels))
    expected.backward()
    with watch(encoder, "vision", rows="pool", grad=True) as seen:
        features = encoder.image_features(pixels)
        value = penalty.value(state, Shown(features, seen), BATCH)
        value.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert value.item() > 1e-3
    wanted = {name: p.grad for name, p in tuned.named_parameters() if p.grad is not None}
    scale = max(gradient.abs().max().item() for gradient in wanted.values())
    for name, parameter in encoder.model.named_parameters():
        ours = torch.zeros(parameter.shape) if parameter.grad is None else parameter.grad
        theirs = wanted.get(name, torch.zeros(parameter.shape)).float()
        torch.testing.assert_close(ours, theirs, atol=2e-5 * max(scale, 1), rtol=0, msg=name)


def test_before_the_first_step_it_is_nothing(tiny):
    encoder, data = tiny("clip"), examples(70)  # more than one pass of `prepare`
    penalty = AttentionKL()
    state = penalty.prepare(encoder, "vision", data)
    assert state.log_rows.shape[0] == 70
    indices = np.array([69, 0, 65])
    with watch(encoder, "vision", rows="pool", grad=True) as seen:
        features = encoder.features(data.inputs[indices])
        assert abs(penalty.value(state, Shown(features, seen), indices).item()) < 1e-7


TEXTS = np.array(["a", "a much longer text than that", "b c", "of middling length", "a"], dtype=object)


@pytest.mark.parametrize("family", ["clip", "bert"])
def test_of_texts_every_token_counts_and_padding_never(tiny, family):
    """`prepare` sees texts beside others, and so with other padding, than the batch does."""
    encoder = tiny(family)
    data = replace(examples(5), inputs=TEXTS)
    penalty = AttentionKL(weight=0.3)
    state = penalty.prepare(encoder, "text", data)
    Full().install(encoder, "text")
    batch = np.array([4, 2])
    inputs = encoder.tokens(TEXTS[batch].tolist())
    with watch(encoder, "text", rows="pool", grad=True) as seen:
        features = encoder.features(TEXTS[batch])
        assert seen.logits.shape[-1] < state.log_rows.shape[-1]
        assert abs(penalty.value(state, Shown(features, seen), batch).item()) < 1e-7
    place = encoder.map.tower("text")
    rows = [[pooled(encoder, "text", inputs["input_ids"], i) for i in range(2)]]
    before = [row[[0, 1], :, rows[0]] for row in eager_rows(encoder, "text", **inputs).rows]
    sharpen(encoder.model)
    now = [row[[0, 1], :, rows[0]] for row in eager_rows(encoder, "text", **inputs).rows]
    terms = []
    for layer in range(len(place.blocks)):
        for text in range(2):
            for a0, a in zip(before[layer][text], now[layer][text], strict=True):
                terms.append(sum(p * np.log(p / q) for p, q in zip(a0, a, strict=True) if p > 0))
    with watch(encoder, "text", rows="pool", grad=True) as seen:
        value = penalty.value(state, Shown(encoder.features(TEXTS[batch]), seen), batch)
        value.backward()
    assert value.item() == pytest.approx(0.3 * float(np.mean(terms)), rel=1e-4)
    assert value.item() > 1e-5
    gradient = encoder.model.get_parameter(f"{place.blocks[0].q}.weight").grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient.any()


def test_more_than_fits_is_refused_before_it_is_computed(tiny, monkeypatch):
    monkeypatch.setattr(kept, "LIMIT", 1000)
    with pytest.raises(MethodError, match=r"penalty attention_kl: .* 70 examples .* or entropy_floor"):
        AttentionKL().prepare(tiny("vit"), "vision", examples(70))
