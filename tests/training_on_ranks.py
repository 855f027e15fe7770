"""What `test_ranks.py` starts by torchrun: both processes train the same runs, and the first one tells."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from colours import NAMES, TRAIN, VAL, spec

from tunescope.errors import MethodError, Stopped
from tunescope.models.load import load
from tunescope.results.store import Store
from tunescope.training.checkpoint import Checkpoint
from tunescope.training.loop import train
from tunescope.training.ranks import Ranks

RUN = "cd" * 32
SPECS = {
    "full": (
        "vit",
        spec("full", batch_size=7, lr=3e-3),
    ),  # 22 examples: the last batch is one for two processes
    "unused": ("dinov2", spec("full", optimizer="sgd")),  # no step uses the mask token
    "lora": ("clip", spec({"kind": "lora", "rank": 4})),
    "prefix": ("vit", spec({"kind": "freeze", "blocks": 1}, augment="none")),
    "augmented": ("vit", spec({"kind": "freeze", "blocks": 1}, augment="crop_flip")),
    "sam": ("vit", spec("full", optimizer={"kind": "sam", "base": "sgd"}, penalties=["l2_sp"], ema=0.9)),
    "lp_ft": ("vit", spec({"kind": "lp_ft", "epochs": 1, "then": {"kind": "lora", "rank": 2}})),
    "probe": ("siglip", spec("linear_probe", lr=1e-2)),
}


def carry_out(folder: Path, said, checkpoint: Checkpoint | None = None):
    encoder = load(folder)
    head = said.objective.build_head(encoder, NAMES, TRAIN.templates)
    torch.manual_seed(said.seed)
    installed = said.adapt.install(encoder)
    history = train(encoder, installed, head, said, TRAIN, VAL, checkpoint=checkpoint)
    return history, installed.state_dict() | {f"head.{k}": v.clone() for k, v in head.state_dict().items()}


def told(history, weights) -> dict:
    rows = {m: [r.value for r in history.rows if r.metric == f"training.{m}"] for m in ("loss", "val_acc1")}
    return rows | {"weights": {name: value.flatten().tolist() for name, value in weights.items()}}


def main(models: dict[str, str], out: Path) -> None:
    torch.set_num_threads(1)
    found: dict[str, Any] = {
        name: told(*carry_out(Path(models[family]), said)) for name, (family, said) in SPECS.items()
    }
    family, said = SPECS["full"]
    keep = Store(out.parent / "store").unfinished(RUN)
    asked = iter([False, Ranks().rank == 1, False, False])  # the second process alone, at step 2
    try:
        carry_out(Path(models[family]), said, Checkpoint(keep, 1e9, lambda: next(asked)))
    except Stopped as stopped:
        found["stopped"] = str(stopped)
    found["resumed"] = told(*carry_out(Path(models[family]), said, Checkpoint(keep, 1e9)))
    try:
        carry_out(Path(models[family]), spec("full", penalties=["entropy_floor"]))
    except MethodError as error:
        found["refused"] = str(error)
    if Ranks().first:
        out.write_text(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
