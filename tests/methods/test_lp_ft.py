from typing import Any

import pytest
import torch
from colours import NAMES, TRAIN, VAL, spec
from torch import Tensor, nn

from tunescope.errors import Diverged, Stopped, StudyError
from tunescope.methods.lp_ft import LPFT
from tunescope.methods.method import Method
from tunescope.models.encoder import Encoder
from tunescope.objectives.objective import Objective
from tunescope.results.metric import TRAINING
from tunescope.results.store import Store
from tunescope.study.component import resolve
from tunescope.training.checkpoint import Checkpoint
from tunescope.training.history import History
from tunescope.training.loop import train

Weights = dict[str, Tensor]


def run(encoder: Encoder, said, head: Any = None, **given: Any) -> tuple[History, Weights, nn.Module]:
    assert isinstance(said.adapt, Method)
    assert isinstance(said.objective, Objective)
    head = head or said.objective.build_head(encoder, NAMES, TRAIN.templates)
    torch.manual_seed(said.seed)
    installed = said.adapt.install(encoder)
    torch.seed()
    history = train(encoder, installed, head, said, TRAIN, VAL, **given)
    return history, installed.state_dict() | {f"head.{k}": v for k, v in head.state_dict().items()}, head


def rows(history: History, *but: str) -> list:
    return [row for row in history.rows if row.metric not in ("training.seconds", *but)]


TEXT = {"objective": {"kind": "cross_entropy", "head": "text"}}
SAM = {"optimizer": {"kind": "sam", "base": "sgd", "rho": 0.1}}
SECOND = {"ema": 0.9, "layer_decay": 0.5, "head_lr": 1e-4, "converged": {"metric": "loss"}}


@pytest.mark.parametrize(
    ("then", "both", "second"),
    [
        ("full", {}, {"penalties": [{"kind": "entropy_floor", "fraction": 1.2}], **SECOND}),
        ("full", TEXT | {"augment": "crop_flip", "schedule": "constant"}, {}),
        ({"kind": "lora", "rank": 2, "dropout": 0.3}, SAM | {"clip_norm": 0.5}, {"lora_plus": 4}),
        ("vpt_shallow", {"warmup": 0.0, "precision": "bfloat16"}, {"penalties": ["l2_sp"]}),
    ],
    ids=["full", "text head", "lora", "prompts"],
)
def test_it_is_a_linear_probe_and_then_tuning_from_its_head(tiny, then, both, second):
    """By two runs of the loop, the second with the first one's head: the same to the bit."""
    adapt = {"kind": "lp_ft", "epochs": 3, "lr": 2e-2, "then": then}
    found, weights, _ = run(tiny("clip"), spec(adapt, lr=2e-3, **both, **second))
    encoder = tiny("clip")
    first = spec("linear_probe", lr=2e-2, epochs=3, **both)
    if then == "vpt_shallow":  # the model does not start as the base: the head fits what it starts as
        torch.manual_seed(0)
        resolve("adapt", then).install(encoder)  # pyright: ignore[reportAttributeAccessIssue]
    probed, _, head = run(encoder, first)
    expected, straight, _ = run(tiny("clip"), spec(then, lr=2e-3, **both, **second), head)
    assert weights.keys() == straight.keys()
    assert all(torch.equal(weights[name], straight[name]) for name in straight)
    assert rows(found, "training.probe_val_acc1") == rows(expected)
    reached = [row for row in probed.rows if row.metric == "training.val_acc1"][-1]
    told = [row for row in found.rows if row.metric == "training.probe_val_acc1"]
    assert [(row.value, row.split, row.step, row.n) for row in told] == [(reached.value, "val", None, 9)]
    last = [line for line in probed.log if "loss" in line][-1]
    about = found.log[0]["probe"]
    said = (about["epochs"], about["lr"], about["loss"], about["val_acc1"])
    assert said == (3, 2e-2, last["loss"], reached.value)
    assert about["reused"] == (None if "augment" in both else "features")
    assert found.log[1:] == expected.log[1:]
    assert {row.metric for row in found.rows} <= {metric.name for metric in TRAINING}


def test_frozen_features_are_computed_once(tiny):
    encoder, seen = tiny("vit"), 0

    def count(module: nn.Module, args: tuple, output: Tensor) -> None:
        nonlocal seen
        seen += len(output)

    encoder.model.get_submodule("embeddings.patch_embeddings").register_forward_hook(count)
    run(encoder, spec({"kind": "lp_ft", "epochs": 7, "then": {"kind": "freeze", "blocks": 1}}, epochs=1))
    # features, and then what enters the first trained block; two looks into each set for dropout in it
    assert seen == 2 * (22 + 9) + 2 * 2
    assert all(p.requires_grad for p in encoder.model.get_submodule("layers.1").parameters())


def test_stopped_in_its_first_stage_it_begins_anew(tiny, tmp_path):
    said = spec({"kind": "lp_ft", "epochs": 2, "then": {"kind": "lora", "rank": 2}}, epochs=1)
    expected, straight, _ = run(tiny("vit"), said)
    kept, asked = Store(tmp_path).unfinished("ab" * 32), iter([False, True])
    steps: list[int] = []
    with pytest.raises(Stopped, match="stopped after step 2 of LP-FT's linear probe"):
        run(tiny("vit"), said, checkpoint=Checkpoint(kept, 0.0, lambda: next(asked)))
    assert kept.read() is None
    found, weights, _ = run(
        tiny("vit"), said, checkpoint=Checkpoint(kept, 1e9), on_step=lambda step, of: steps.append(step)
    )
    assert steps == [1, 2, 3]
    assert rows(found) == rows(expected)
    assert all(torch.equal(weights[name], straight[name]) for name in straight)


def test_a_first_stage_that_diverges_says_so(tiny):
    said = spec({"kind": "lp_ft", "lr": 1e38}, optimizer="sgd", warmup=0, clip_norm=None)
    with pytest.raises(Diverged, match="diverged at step 2 of LP-FT's linear probe"):
        run(tiny("vit"), said)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"then": "lp_ft"}, "then: lp_ft begins with the head alone"),
        ({"then": "linear_probe"}, "such as full or lora"),
        ({"then": "lorra"}, "did you mean 'lora'"),
        ({"epochs": 0}, "epochs"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises((StudyError, ValueError), match=message):
        resolve("adapt", {"kind": "lp_ft"} | settings)


def test_settings_survive_a_file():
    method = LPFT(epochs=3, then=resolve("adapt", {"kind": "lora", "rank": 3}))
    assert resolve("adapt", method.model_dump(mode="json")) == method
    assert spec(method).components()["adapt.then"] == method.then
