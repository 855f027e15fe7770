"""Methods under the training loop: they learn, they resume, and what is computed once stays exact."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from colours import NAMES, TRAIN, VAL, examples, spec

from tunescope.errors import Stopped
from tunescope.methods.method import Method
from tunescope.objectives.objective import Objective
from tunescope.results.store import Store
from tunescope.training.checkpoint import Checkpoint
from tunescope.training.loop import train
from tunescope.training.prefix import Prefix, Refused, first_trained, prefix

RUN = "cd" * 32
# settings, and the first block that is trained
METHODS = {
    "last_k": ({"kind": "last_k", "blocks": 2}, 1),
    "bitfit": ({"kind": "bitfit"}, -1),
    "layernorm": ({"kind": "layernorm"}, 0),  # -1 in CLIP, which has a norm before the blocks
    "houlsby": ({"kind": "houlsby", "rank": 8, "blocks": "1-"}, 1),
    "pfeiffer": ({"kind": "pfeiffer", "rank": 8, "blocks": "1-"}, 1),
    "parallel_adapter": ({"kind": "parallel_adapter", "rank": 8, "blocks": "1-2"}, 1),
    "adapter_plus": ({"kind": "adapter_plus", "rank": 8, "blocks": "1-"}, 1),
    "vpt_shallow": ({"kind": "vpt_shallow", "prompts": 8}, 0),
    "vpt_deep": ({"kind": "vpt_deep", "prompts": 8}, 0),
    "prefix": ({"kind": "prefix", "tokens": 8, "blocks": "1-"}, 1),
}
every_method = pytest.mark.parametrize("kind", METHODS)


def install(encoder, adapt):
    torch.manual_seed(0)
    return adapt.install(encoder)


def run(encoder, said, given=TRAIN, checkpoint=None, reuse=True):
    assert isinstance(said.objective, Objective)
    head = said.objective.build_head(encoder, NAMES, given.templates)
    installed = install(encoder, said.adapt)
    history = train(encoder, installed, head, said, given, VAL, checkpoint=checkpoint, reuse=reuse)
    state = installed.state_dict() | {f"head.{k}": v.clone() for k, v in head.state_dict().items()}
    return history, state


def last_loss(tiny, adapt):
    """After 30 steps on 16 examples."""
    steps = {"epochs": 30, "batch_size": 16, "schedule": "constant", "warmup": 0.0}
    history, _ = run(tiny("vit"), spec(adapt, lr=3e-3, **steps), examples(16, "train"))
    return [row.value for row in history.rows if row.metric == "training.loss"][-1]


@pytest.fixture(scope="module")
def loss_of_the_head_alone(tiny):
    return last_loss(tiny, "linear_probe")


# A prefix moves too little in thirty such steps; under a frozen head the contract has it fit sixteen.
@pytest.mark.parametrize("kind", [kind for kind in METHODS if kind != "prefix"])
def test_it_learns_sixteen_examples_by_heart(tiny, kind, loss_of_the_head_alone):
    found = last_loss(tiny, METHODS[kind][0])
    assert found < 0.08
    assert found < 0.75 * loss_of_the_head_alone


class After:
    """Says stop after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self):
        self.left -= 1
        return self.left <= 0


@every_method
def test_stopped_and_resumed_is_bit_for_bit_what_runs_straight_through(tiny, tmp_path, kind):
    said = spec(METHODS[kind][0], lr=1e-2)
    _, straight = run(tiny("clip"), said)
    store = Store(tmp_path)
    with pytest.raises(Stopped):
        run(tiny("clip"), said, checkpoint=Checkpoint(store.unfinished(RUN), 1e9, After(3)))
    _, resumed = run(tiny("clip"), said, checkpoint=Checkpoint(store.unfinished(RUN)))
    assert resumed.keys() == straight.keys()
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)


@every_method
@pytest.mark.parametrize("family", ["clip", "siglip", "vit"])
def test_what_is_computed_once_is_exact_or_refused(tiny, family, kind):
    settings, expected = METHODS[kind]
    encoder = tiny(family)
    adapt = spec(settings).adapt
    assert isinstance(adapt, Method)
    installed = install(encoder, adapt)
    assert first_trained(encoder.map.tower("vision"), installed.trainable) == (
        -1 if (family, kind) == ("clip", "layernorm") else expected
    )
    with torch.no_grad():
        for parameter in installed.trainable.values():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    images = TRAIN.inputs[:8]
    found = prefix(
        encoder,
        installed,
        images,
        batch_size=4,
        augmented=False,
        every_block=False,
        autocast=nullcontext,
    )
    if expected <= 0:
        assert isinstance(found, Refused)
        return
    assert isinstance(found, Prefix)
    assert found.blocks == expected
    gradients = []
    for way in (
        lambda: found.features(np.arange(4)),
        lambda: encoder.features(images[:4]),
    ):
        features = way()
        gradients.append(
            (features, torch.autograd.grad(features.sin().sum(), list(installed.trainable.values())))
        )
    (kept, ours), (plain, theirs) = gradients
    assert torch.equal(kept, plain)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("penalty", ["entropy_floor", "attention_kl"])
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_penalties_hold_prompted_attention_over_patches_to_the_base_s(tiny, family, penalty):
    """The base's rows have no prompts in them, and the tuned model's do."""
    settings = {"kind": penalty, "weight": 1.0} | ({"fraction": 1.0} if penalty == "entropy_floor" else {})
    said = spec({"kind": "vpt_deep", "prompts": 4}, lr=1e-2, penalties=[settings])
    history, _ = run(tiny(family), said)
    values = [row.value for row in history.rows if row.metric == "training.penalty"]
    assert 0 < values[0] < 1
    assert np.isfinite(values).all()
