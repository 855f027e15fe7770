import re
from typing import Any

import pytest
import torch
from colours import NAMES, TRAIN, VAL, spec
from torch import Tensor

from tunescope.errors import MethodError, StudyError
from tunescope.methods.method import Method
from tunescope.models.encoder import Encoder
from tunescope.objectives.objective import Objective
from tunescope.study.run import Train
from tunescope.training.loop import train
from tunescope.training.rates import scales

BLOCKS, D = 3, 0.5


def run(encoder: Encoder, said) -> tuple[dict[str, Tensor], dict[int | None, float]]:
    """What one run changed, and its learning rates."""
    assert isinstance(said.adapt, Method)
    assert isinstance(said.objective, Objective)
    head = said.objective.build_head(encoder, NAMES, TRAIN.templates)
    torch.manual_seed(said.seed)
    installed = said.adapt.install(encoder)
    params = {f"encoder.{name}": p for name, p in installed.trainable.items()}
    params |= {f"head.{name}": p for name, p in head.named_parameters()}
    before = {name: p.detach().clone() for name, p in params.items()}
    history = train(encoder, installed, head, said, TRAIN, VAL)
    moved = {name: p.detach() - before[name] for name, p in params.items()}
    return moved, {row.step: row.value for row in history.rows if row.metric == "training.lr"}


def beit(name: str) -> float:
    """BEiT's optim_factory.py in words: 0 for tokens and patches, i + 1 for block i, L + 1 for the rest."""
    if re.search(r"embeddings|pre_layrnorm", name):
        layer = 0
    else:
        block = re.search(r"\blayers?\.(\d+)\.", name)
        layer = int(block[1]) + 1 if block else BLOCKS + 1
    return D ** (BLOCKS + 1 - layer)


@pytest.mark.parametrize("family", ["clip", "siglip", "vit", "dinov2"])
@pytest.mark.parametrize(
    "adapt", ["full", {"kind": "dora", "rank": 2}, "houlsby", "vpt_deep"], ids=lambda a: str(a)[:12]
)
def test_each_layer_learns_slower_than_the_one_above_it(tiny, family, adapt):
    encoder = tiny(family)
    said = spec(adapt, layer_decay=D)
    assert isinstance(said.adapt, Method)
    names = [f"encoder.{name}" for name in said.adapt.install(encoder).trainable] + ["head.linear.weight"]
    found = scales(names, encoder.map, said)
    assert found == {name: beit(name) for name in names}
    assert set(found.values()) >= {D**3, D**2, D, 1.0}
    assert (D**4 in found.values()) == (adapt == "full")


def test_what_no_tower_owns_learns_as_the_head(tiny):
    names = ["encoder.logit_scale", "encoder.text_model.encoder.layers.0.mlp.fc1.weight"]
    assert list(scales(names, tiny("clip").map, spec("full", layer_decay=D)).values()) == [1, D**3]


ONE_STEP = {"epochs": 1, "batch_size": 22, "warmup": 0.0, "clip_norm": None}
PLAIN = {"kind": "sgd", "momentum": 0.0, "weight_decay": 0.1}


@pytest.mark.parametrize("optimizer", [PLAIN, {"kind": "sam", "base": PLAIN}], ids=["sgd", "sam"])
def test_a_step_is_as_long_as_its_scale_says(tiny, optimizer):
    adapt = {"kind": "lora", "rank": 2, "targets": ["q", "fc2"]}
    rates: dict[str, Any] = {"layer_decay": 0.5, "head_lr": 4e-3, "lora_plus": 16}
    plain, _ = run(tiny("vit"), spec(adapt, optimizer=optimizer, **ONE_STEP))
    scaled, lr = run(tiny("vit"), spec(adapt, optimizer=optimizer, **ONE_STEP, **rates))
    assert lr == {1: 1e-3}  # the run's own
    for name, moved in scaled.items():
        factor = 4 if name.startswith("head.") else beit(name) * (16 if "lora_B" in name else 1)
        torch.testing.assert_close(moved, factor * plain[name], atol=1e-7, rtol=1e-3, msg=name)
    # no gradient reaches A while B is zero, nor B while the head is: weight decay alone moves A
    assert any(moved.any() for name, moved in scaled.items() if "lora_A" in name)


def test_what_are_the_runs_own_rates_changes_nothing(tiny):
    plain, _ = run(tiny("vit"), spec({"kind": "lora", "rank": 2}))
    same: dict[str, Any] = {"layer_decay": 1.0, "head_lr": 1e-3, "lora_plus": 1.0}
    found, _ = run(tiny("vit"), spec({"kind": "lora", "rank": 2}, **same))
    assert all(torch.equal(found[name], plain[name]) for name in plain)


@pytest.mark.parametrize(
    ("adapt", "reason"),
    [("full", "full trains none"), ("loha", "loha trains none"), ("adalora", "adalora trains P·Λ·Q")],
)
def test_lora_plus_is_refused_without_loras_b(tiny, adapt, reason):
    with pytest.raises(MethodError, match=rf"train.lora_plus: .*{reason}.* or take lora, dora"):
        run(tiny("vit"), spec(adapt, lora_plus=4))


@pytest.mark.parametrize(
    "settings", [{"layer_decay": 0}, {"layer_decay": 1.1}, {"lora_plus": 0.5}, {"head_lr": 0}]
)
def test_settings_that_make_no_sense(settings):
    with pytest.raises((StudyError, ValueError), match=next(iter(settings))):
        Train.model_validate(settings)
