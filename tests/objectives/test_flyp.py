"""FLYP: its loss against plain loops, what it trains, and the same result killed and resumed."""

import copy

import numpy as np
import pytest
import torch
from colours import NAMES, TRAIN, VAL, examples, spec
from torch import Tensor

from tunescope.errors import MethodError, ModelError, Stopped
from tunescope.methods.full import Full
from tunescope.methods.linear_probe import LinearProbe
from tunescope.methods.per_tower import PerTower
from tunescope.models.encoder import Encoder
from tunescope.objectives.contrast import info_nce
from tunescope.objectives.flyp import FLYP
from tunescope.results.store import Store
from tunescope.training.checkpoint import Checkpoint
from tunescope.training.loop import train

RUN = "ef" * 32
TEMPLATES = ("a {} square.", "the colour {}", "{}!")
LABELS = torch.tensor([0, 2, 1, 0, 0])
BOTH = {"kind": "per_tower", "vision": "full", "text": "full"}


def reference(encoder: Encoder, images, drawn: list[int], several: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss by plain loops, and its gradients, from transformers' own forward pass in float64."""
    model = copy.deepcopy(encoder.model).double().requires_grad_(True)
    model.set_attn_implementation("eager")
    prompts = [TEMPLATES[t].replace("{}", NAMES[c]) for t, c in zip(drawn, LABELS.tolist(), strict=True)]
    pixels = encoder.pixels(images).double()
    z = model(pixel_values=pixels, **encoder.tokens(prompts)).logits_per_image  # scale · ⟨f, t⟩ + bias
    count, terms = len(z), []
    for i in range(count):
        own = [k for k in range(count) if (LABELS[k] == LABELS[i] if several else k == i)]
        if encoder.map.family == "siglip":
            signs = [1 if k in own else -1 for k in range(count)]
            terms.append(sum((1 + torch.exp(-sign * z[i, k])).log() for k, sign in enumerate(signs)))
            continue
        to_text = [-(z[i, k] - z[i].exp().sum().log()) for k in own]
        to_image = [-(z[k, i] - z[:, i].exp().sum().log()) for k in own]
        terms.append((sum(to_text) + sum(to_image)) / (2 * len(own)))
    loss = torch.stack(terms).mean()
    loss.backward()
    return loss, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("several", [False, True], ids=["published", "several"])
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_loss_and_gradients_against_plain_loops_in_float64(tiny, family, several):
    encoder, images = tiny(family), examples(5, "train").inputs
    objective = FLYP(several_positives=several)
    with torch.no_grad():
        encoder.model.logit_scale.fill_(1.0)  # so that no term vanishes
    head = objective.build_head(encoder, NAMES, TEMPLATES).train()
    installed = PerTower(vision=Full(), text=Full()).install(encoder)
    torch.manual_seed(3)
    drawn = torch.randint(3, (5,)).tolist()
    expected, gradients = reference(encoder, images, drawn, several)
    torch.manual_seed(3)
    loss = objective.loss(head, encoder.features(images), LABELS)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    largest = max(gradient.abs().max().item() for gradient in gradients.values())
    assert {name.split(".")[0] for name in installed.trainable} >= {"vision_model", "text_model"}
    for name, p in installed.trainable.items():
        assert p.grad is not None, name
        torch.testing.assert_close(
            p.grad.double(), gradients[name], atol=2e-5 * max(largest, 1), rtol=0, msg=name
        )
    scale, bias = (dict(head.named_parameters())[name] for name in ("log_scale", "bias"))
    assert scale.grad is not None
    torch.testing.assert_close(
        scale.grad.double().reshape(()), gradients["logit_scale"].reshape(()), rtol=1e-4, atol=1e-6
    )
    if family == "siglip":
        assert bias.grad is not None
        assert bias.grad.item() == pytest.approx(gradients["logit_bias"].item(), rel=1e-4)
    else:
        assert not bias.requires_grad


def test_the_switch_changes_the_loss_only_where_a_class_comes_twice(tiny):
    encoder = tiny("clip")
    head = FLYP().build_head(encoder, NAMES, TEMPLATES)
    features = encoder.features(examples(3, "train").inputs).detach()

    def loss(labels: list[int], several: bool) -> float:
        torch.manual_seed(0)
        return FLYP(several_positives=several).loss(head, features, torch.tensor(labels)).item()

    assert loss([0, 1, 2], True) == loss([0, 1, 2], False)
    assert loss([0, 0, 2], True) != loss([0, 0, 2], False)


def run(encoder: Encoder, said, checkpoint=None):
    head = said.objective.build_head(encoder, NAMES, TRAIN.templates)
    torch.manual_seed(said.seed)
    installed = said.adapt.install(encoder)
    history = train(encoder, installed, head, said, TRAIN, VAL, checkpoint=checkpoint)
    return history, installed.state_dict() | {f"head.{k}": v.clone() for k, v in head.state_dict().items()}


class After:
    """Says stop after so many steps."""

    def __init__(self, steps: int):
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def test_killed_and_resumed_is_bit_for_bit_what_runs_straight_through(tiny, tmp_path):
    said = spec(
        BOTH, objective={"kind": "flyp", "several_positives": True}, penalties=[{"kind": "ldifs"}], lr=1e-3
    )
    expected, straight = run(tiny("clip"), said)
    store = Store(tmp_path)
    with pytest.raises(Stopped):
        run(tiny("clip"), said, Checkpoint(store.unfinished(RUN), 1e9, After(2)))
    found, resumed = run(tiny("clip"), said, Checkpoint(store.unfinished(RUN)))
    assert resumed.keys() == straight.keys()
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)
    assert found.log == expected.log


@pytest.mark.parametrize(
    "adapt",
    [
        "full",
        {"kind": "per_tower", "text": "full"},
        {"kind": "lora", "rank": 2, "targets": ["vision.attention.q", "text.attention.q"]},
        {"kind": "per_tower", "vision": {"kind": "vpt_shallow", "prompts": 2}, "text": "bitfit"},
    ],
    ids=["full", "text", "lora", "vpt"],
)
def test_it_trains_what_the_method_leaves_free_and_the_temperature(tiny, adapt):
    encoder = tiny("clip")
    before = {name: p.detach().clone() for name, p in encoder.model.named_parameters()}
    said = spec(adapt, objective="flyp", lr=1e-3, epochs=1)
    history, state = run(encoder, said)
    assert history.log[0]["reused"] == (
        "features" if "vision" not in str(adapt) and adapt != "full" else None
    )
    assert state.keys() >= {"head.log_scale", "head.bias"}
    assert not any(key.startswith("head.") for key in state.keys() - {"head.log_scale", "head.bias"})
    assert state["head.log_scale"] != before["logit_scale"]
    assert state["head.bias"] == 0
    after = dict(encoder.model.named_parameters())
    trained = [name for name in before if name in after and not torch.equal(before[name], after[name])]
    frozen = {"full": "text_model", "text": "vision_model"}
    kept = frozen["full"] if adapt == "full" else frozen["text"] if "vision" not in str(adapt) else "logit"
    assert trained or "lora" in str(adapt)
    assert not any(name.startswith(kept) for name in trained)


def test_several_steps_lower_the_loss_and_raise_accuracy(tiny):
    said = spec(BOTH, objective={"kind": "flyp", "several_positives": True}, lr=1e-3, epochs=6)
    history, _ = run(tiny("siglip"), said)
    losses = [row.value for row in history.rows if row.metric == "training.loss"]
    reached = [row.value for row in history.rows if row.metric == "training.val_acc1"]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    assert reached[-1] > 0.6


@pytest.mark.parametrize("family", ["vit", "dinov2", "bert"])
def test_it_needs_images_and_texts_in_one_space(tiny, family):
    with pytest.raises(ModelError, match=r"objective flyp: model .* take a CLIP or SigLIP model"):
        FLYP().build_head(tiny(family), NAMES, TEMPLATES)


def test_with_nothing_to_train_it_is_refused(tiny):
    encoder = tiny("clip")
    said = spec("linear_probe", objective={"kind": "flyp", "temperature": "fixed"})
    head = FLYP(temperature="fixed").build_head(encoder, NAMES, TEMPLATES)
    with pytest.raises(MethodError, match=r"linear_probe with objective: flyp leaves nothing to train"):
        train(encoder, LinearProbe().install(encoder), head, said, TRAIN, VAL)


def test_with_one_text_for_each_class_several_positives_are_the_same_loss_and_with_more_they_are_not():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 2, 0, 2, 1, 1])
    texts = torch.randn(3, 5, generator=generator, dtype=torch.float64)[labels]
    alone, together = torch.eye(8).bool(), labels[:, None] == labels
    torch.testing.assert_close(info_nce(images @ texts.T, alone), info_nce(images @ texts.T, together))
    other = texts + 0.1 * torch.randn(8, 5, generator=generator, dtype=torch.float64)  # as templates differ
    assert abs(info_nce(images @ other.T, alone) - info_nce(images @ other.T, together)) > 1e-3
