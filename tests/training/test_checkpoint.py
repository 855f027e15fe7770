import json

import pytest
import torch
from colours import NAMES, TRAIN, VAL, spec
from safetensors.torch import load_file, save_file
from torch import Tensor

from tunescope.errors import Stopped
from tunescope.methods.method import Method
from tunescope.models.encoder import Encoder
from tunescope.objectives.objective import Objective
from tunescope.results.store import Store
from tunescope.study.run import RunSpec
from tunescope.training.checkpoint import Checkpoint
from tunescope.training.history import History
from tunescope.training.loop import train

RUN = "ab" * 32
STEPS = 6  # two epochs of 22 examples in batches of 8
SPECS = {
    "full": spec("full"),
    "momentum": spec("full", optimizer={"kind": "sgd", "momentum": 0.9, "nesterov": True}),
    "lora with dropout": spec({"kind": "lora", "rank": 4, "dropout": 0.3}, augment="crop_flip"),
    "frozen prefix": spec({"kind": "freeze", "blocks": 1}),
    "penalty": spec("full", penalties=[{"kind": "entropy_floor", "fraction": 1.2}]),
    "sam": spec({"kind": "lora", "rank": 4, "dropout": 0.3}, optimizer={"kind": "sam", "adaptive": True}),
    "average and rates": spec("full", ema=0.9, layer_decay=0.5, head_lr=1e-2),
    "lp_ft": spec({"kind": "lp_ft", "epochs": 1, "then": {"kind": "freeze", "blocks": 2}}, ema=0.9),
    "probe": spec("linear_probe", converged={"metric": "loss", "within": 10}),
}


def run(
    encoder: Encoder, said: RunSpec, checkpoint: Checkpoint | None = None
) -> tuple[History, dict[str, Tensor]]:
    assert isinstance(said.adapt, Method)
    assert isinstance(said.objective, Objective)
    head = said.objective.build_head(encoder, NAMES, TRAIN.templates)
    torch.manual_seed(said.seed)
    installed = said.adapt.install(encoder)
    torch.seed()
    history = train(encoder, installed, head, said, TRAIN, VAL, checkpoint=checkpoint)
    return history, installed.state_dict() | {f"head.{k}": v.clone() for k, v in head.state_dict().items()}


class After:
    """Says stop after so many steps."""

    def __init__(self, steps: int):
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def told(history: History) -> list:
    return [row for row in history.rows if row.metric != "training.seconds"]


@pytest.mark.parametrize("name", SPECS)
def test_stopped_and_resumed_is_bit_for_bit_what_runs_straight_through(tiny, tmp_path, name):
    said = SPECS[name]
    expected, straight = run(tiny("clip"), said)
    store = Store(tmp_path)
    for _ in range(3):  # after step 2, after step 4, and to the end
        try:
            found, resumed = run(tiny("clip"), said, Checkpoint(store.unfinished(RUN), 1e9, After(2)))
        except Stopped:
            continue
    # the last call says stop after its last step, when everything is done: once more, with nothing left to do
    found, resumed = run(tiny("clip"), said, Checkpoint(store.unfinished(RUN)))
    assert resumed.keys() == straight.keys()
    assert all(torch.equal(resumed[key], straight[key]) for key in straight)
    assert told(found) == told(expected)
    assert found.log == expected.log


def test_every_step_can_be_the_last_one(tiny, tmp_path):
    said = SPECS["full"]
    _, straight = run(tiny("vit"), said)
    for step in range(1, STEPS + 1):
        store = Store(tmp_path / str(step))
        with pytest.raises(Stopped, match=f"step {step}"):
            run(tiny("vit"), said, Checkpoint(store.unfinished(RUN), 1e9, After(step)))
        _, resumed = run(tiny("vit"), said, Checkpoint(store.unfinished(RUN), 1e9))
        assert all(torch.equal(resumed[key], straight[key]) for key in straight)


def test_checkpoints_come_as_often_as_they_are_asked_for(tiny, tmp_path):
    store = Store(tmp_path)
    run(tiny("vit"), SPECS["full"], Checkpoint(store.unfinished(RUN), 1e9))
    assert store.unfinished(RUN).read() is None
    run(tiny("vit"), SPECS["full"], Checkpoint(store.unfinished(RUN), 0.0))
    folder = store.unfinished(RUN).read()
    assert folder is not None
    assert json.loads((folder / "state.json").read_text())["step"] == STEPS
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}


def test_of_another_method_it_is_no_checkpoint(tiny, tmp_path):
    store = Store(tmp_path)
    with pytest.raises(Stopped):
        run(tiny("vit"), SPECS["full"], Checkpoint(store.unfinished(RUN), 1e9, After(2)))
    expected, straight = run(tiny("vit"), SPECS["frozen prefix"])
    found, weights = run(tiny("vit"), SPECS["frozen prefix"], Checkpoint(store.unfinished(RUN), 1e9))
    assert told(found) == told(expected)
    assert all(torch.equal(weights[key], straight[key]) for key in straight)


@pytest.mark.parametrize("spoil", ["shape", "version"])
def test_of_other_making_it_is_no_checkpoint(tiny, tmp_path, spoil):
    said, store = SPECS["full"], Store(tmp_path)
    with pytest.raises(Stopped):
        run(tiny("vit"), said, Checkpoint(store.unfinished(RUN), 1e9, After(2)))
    kept = store.unfinished(RUN).read()
    assert kept is not None
    tensors, state = load_file(kept / "state.safetensors"), json.loads((kept / "state.json").read_text())
    if spoil == "shape":  # still one that could be copied into place, were it not looked at
        tensors = {k: v[..., :1].contiguous() if k.startswith("state/") else v for k, v in tensors.items()}
    else:
        state["by"]["torch"] = "0.1"
        tensors = {k: torch.zeros_like(v) for k, v in tensors.items()}

    def write(folder):
        save_file(tensors, folder / "state.safetensors")
        (folder / "state.json").write_text(json.dumps(state))

    store.unfinished(RUN).write(write)
    _, straight = run(tiny("vit"), said)
    _, weights = run(tiny("vit"), said, Checkpoint(store.unfinished(RUN), 1e9))
    assert all(torch.equal(weights[key], straight[key]) for key in straight)
