"""Paths and planes between checkpoints: closed forms, plain loops, and what has no line between."""

import copy
import math

import numpy as np
import pytest
import torch
from colours import examples
from families import save_tiny

from tunescope.data.examples import Examples
from tunescope.errors import ModelError
from tunescope.landscape.between import path, plane
from tunescope.landscape.curve import barrier, best
from tunescope.methods.houlsby import Houlsby
from tunescope.methods.lora import LoRA
from tunescope.models.encoder import Encoder
from tunescope.models.heads import LinearHead, text_head
from tunescope.models.load import load

PROJECTION = "visual_projection.weight"


def numbers(labels: np.ndarray) -> Examples:
    part = examples(len(labels), "val")
    return Examples(part.inputs, labels.astype(np.float64), part.ids, (), (), "val")


def moved(encoder: Encoder, names=None, seed: int = 0, scale: float = 0.05) -> Encoder:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in encoder.model.named_parameters():
            if names is None or name in names:
                p.add_(scale * torch.randn(p.shape, generator=generator))
    return encoder


def head_of(size: int) -> LinearHead:
    head = LinearHead(size, 1)
    with torch.no_grad():
        head.linear.weight.normal_(generator=torch.Generator().manual_seed(1))
    return head


def test_a_linear_model_with_squared_loss_is_a_parabola(tiny):
    """The last projection alone moves: outputs are linear in it, the loss is a quadratic in α and convex."""
    base, tuned = tiny("clip"), moved(tiny("clip"), {PROJECTION})
    head = head_of(24)
    with torch.no_grad():
        z0, z1 = (
            head(each.features(examples(9, "val").inputs))[:, 0].double().numpy() for each in (base, tuned)
        )
    y = 0.7 * z1 + 0.3 * z0 + 0.1 * np.arange(9)
    found = path(base, tuned, {"val": numbers(y)}, head=head, points=11)
    assert found.keys() == {("trained", "val")}  # numbers have no head of prompts
    curve = found["trained", "val"]
    a, b, c = ((z1 - z0) ** 2).mean(), 2 * ((z0 - y) * (z1 - z0)).mean(), ((z0 - y) ** 2).mean()
    assert curve.loss == pytest.approx(a * curve.alphas**2 + b * curve.alphas + c, rel=1e-5)
    assert curve.acc1 is None
    assert barrier(curve.alphas, curve.loss) == 0
    assert curve.alphas[best(curve.loss, lower=True)] == pytest.approx(round(-b / (2 * a), 1))


def test_a_barrier_that_is_known_exactly(tiny):
    """Projection and head turn into their opposites: z = (1 − 2α)²·y, so L(½) = mean y², at the ends 0."""
    base, tuned = tiny("clip"), tiny("clip")
    head = head_of(24)
    origin = {name: p.detach().clone() for name, p in head.named_parameters()}
    with torch.no_grad():
        y = head(base.features(examples(9, "val").inputs))[:, 0].double().numpy()
        tuned.model.get_parameter(PROJECTION).neg_()
        head.linear.weight.neg_()
    curve = path(base, tuned, {"val": numbers(y)}, head=head, origin=origin, points=5)["trained", "val"]
    assert curve.loss == pytest.approx(
        [0, 0.5625 * (y**2).mean(), (y**2).mean(), 0.5625 * (y**2).mean(), 0], abs=1e-9
    )
    assert barrier(curve.alphas, curve.loss) == pytest.approx((y**2).mean(), rel=1e-6)


def test_folders_do_as_well(tiny, tiny_folder, tmp_path):
    tuned = moved(tiny("clip"))
    tuned.model.save_pretrained(tmp_path / "tuned")
    for name in ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "tuned" / name).write_bytes((tiny_folder("clip") / name).read_bytes())
    sets = {"val": examples(9, "val"), "zero_shot:b": examples(4, "zero_shot:b")}
    found = path(str(tiny_folder("clip")), tmp_path / "tuned", sets, points=3)
    assert found.keys() == {("text", "val"), ("text", "zero_shot:b")}
    for split, part in sets.items():
        for at, encoder in ((0, tiny("clip")), (2, tuned)):
            with torch.no_grad():
                logits = text_head(encoder, part.class_names, part.templates)(encoder.features(part.inputs))
            curve = found["text", split]
            assert curve.losses.shape == (3, len(part))
            right = (logits.argmax(1).numpy() == part.labels).mean()
            assert curve.acc1 is not None
            assert curve.acc1[at] == right


def test_the_plane_goes_through_all_three(tiny):
    a, b, c = tiny("clip"), moved(tiny("clip"), seed=1), moved(tiny("clip"), seed=2, scale=0.03)
    weights = [{n: p.detach().double() for n, p in each.model.named_parameters()} for each in (a, b, c)]
    sets = {"val": examples(6, "val")}
    found, head = plane(a, b, c, sets, points=4, margin=0.5), head_of(24)
    told = plane(a, b, c, {"test": numbers(np.arange(6))}, head=head, points=4, margin=0.5)
    assert told.loss.keys() == {("trained", "test")}
    assert told.acc1 == {}
    assert all(torch.equal(p.double(), weights[0][n]) for n, p in a.model.named_parameters())

    def apart(one: int, other: int) -> float:
        return math.sqrt(sum(float((weights[one][n] - weights[other][n]).square().sum()) for n in weights[0]))

    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert math.dist(found.models[one], found.models[other]) == pytest.approx(apart(one, other), rel=1e-6)
    assert found.mix(1.0, 0.0, 0.0) == (0, 0)
    assert found.mix(1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0) == pytest.approx(tuple(found.models.mean(0)))
    assert found.x[0] < 0 < found.models[1, 0] < found.x[-1]
    assert found.y[0] < 0 < found.models[2, 1] < found.y[-1]
    other = tiny("clip")
    inverse = np.linalg.inv(np.stack([found.models[1], found.models[2]], 1))
    for i, j in ((0, 0), (1, 2), (3, 1)):
        s, t = inverse @ [found.x[i], found.y[j]]
        mixed = {
            n: ((1 - s - t) * weights[0][n] + s * weights[1][n] + t * weights[2][n]).float()
            for n in weights[0]
        }
        other.model.load_state_dict(other.model.state_dict() | mixed)
        part = sets["val"]
        with torch.no_grad():
            logits = text_head(other, part.class_names, part.templates)(other.features(part.inputs)).double()
            z = head(other.features(part.inputs))[:, 0].double().numpy()
        assert told.loss["trained", "test"][j, i] == pytest.approx(((z - np.arange(6)) ** 2).mean(), rel=1e-4)
        own = logits[torch.arange(6), torch.from_numpy(part.labels)]
        assert found.loss["text", "val"][j, i] == pytest.approx(
            float((logits.logsumexp(1) - own).mean()), rel=1e-4
        )
        assert found.acc1["text", "val"][j, i] == (logits.argmax(1).numpy() == part.labels).mean()


def test_three_models_on_one_line_have_no_plane(tiny):
    a, b = tiny("vit"), moved(tiny("vit"))
    half = copy.deepcopy(b)
    with torch.no_grad():
        for (_, p), (_, q) in zip(half.model.named_parameters(), a.model.named_parameters(), strict=True):
            p.copy_(p + (p - q))
    for c in (half, b, a):
        with pytest.raises(ModelError, match="lie on one line"):
            plane(a, b, c, {})
    with pytest.raises(ModelError, match="lie on one line"):
        plane(a, tiny("vit"), b, {})


def test_other_models_are_refused(tiny, tmp_path):
    with pytest.raises(
        ModelError, match=r"is a vit model and .* a dinov2 one, .* checkpoints of one architecture"
    ):
        path(tiny("vit"), tiny("dinov2"), {})
    shorter = load(save_tiny("vit", tmp_path / "shorter", num_hidden_layers=2))
    with pytest.raises(
        ModelError, match=r"'layers.2.\S+' of shape \(.+\) in .* is no weight of .*; take checkpoints"
    ):
        path(tiny("vit"), shorter, {})
    with pytest.raises(ModelError, match=r"'layers.2.\S+' of shape \(.+\) is no weight of .*shorter"):
        path(shorter, tiny("vit"), {})
    larger = load(save_tiny("vit", tmp_path / "larger", image_size=48))
    with pytest.raises(
        ModelError, match=r"position_embeddings' has shape \(1, 17, 32\) in .* and \(1, 37, 32\)"
    ):
        path(tiny("vit"), larger, {})
    adapted = tiny("vit")
    LoRA(rank=2).install(adapted)
    with pytest.raises(ModelError, match=r"'layers.0.attention.q_proj.weight' .* merge its adapter first"):
        path(tiny("vit"), adapted, {})
    attached = tiny("vit")
    Houlsby().install(attached)
    with pytest.raises(ModelError, match=r"is no weight of .* merge adapters first, those that can be"):
        path(tiny("vit"), attached, {})
