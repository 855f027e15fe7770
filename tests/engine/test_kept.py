"""A run that is killed while it is measured goes on with the layer that it was at."""

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_study import images, study

from tunescope.engine import kept as room
from tunescope.engine.events import Event
from tunescope.engine.job import Job, attempt
from tunescope.engine.kept import OnDisk, fingerprint
from tunescope.engine.plan import plan
from tunescope.errors import StoreError
from tunescope.models.leave_one_out import LeaveOneOut
from tunescope.results.store import Store
from tunescope.results.unfinished import MEASURED
from tunescope.study.study import load_study

RUN = "{lora: {adapt: {kind: lora, rank: 2}, lr: 1.0e-2}}"

# Its own process, and its death: by SIGKILL, in the middle of a layer.
KILLED = """
import os, signal, sys
from pathlib import Path
from tunescope.engine.job import Job, attempt
from tunescope.engine.plan import plan
from tunescope.models.leave_one_out import LeaveOneOut
from tunescope.results.store import Store
from tunescope.results.unfinished import MEASURED
from tunescope.study.study import load_study

path, root, left, plain = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), LeaveOneOut.without

def without(self, layer):
    global left
    left -= 1
    for features in plain(self, layer):
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        yield features

LeaveOneOut.without = without
asked = load_study(path)
attempt(Job(plan(asked, Store(root))[0], root, asked.engine), print)
"""


def carry_out(path: Path, root: Path, monkeypatch) -> tuple[list[int], list[Event], Event]:
    """The layers that were computed, what was told, and how it ended."""
    asked, told, computed = load_study(path), list[Event](), list[int]()
    plain = LeaveOneOut.without

    def without(self, layer):
        computed.append(layer)
        return plain(self, layer)

    with monkeypatch.context() as patch:
        patch.setattr(LeaveOneOut, "without", without)
        ended = attempt(Job(plan(asked, Store(root))[0], root, asked.engine), told.append)
    return computed, told, ended


def files(root: Path) -> dict[str, int]:
    """How many keys are kept, by subject; what is kept of the base goes when it is published."""
    (folder,) = (at / MEASURED for at in (root / "unfinished").iterdir() if (at / MEASURED).exists())
    return {part.name: len(list(part.iterdir())) for part in folder.iterdir()}


def test_killed_while_measuring(tiny_folder, tmp_path, monkeypatch):
    path = tmp_path / "tiny.yaml"
    said = study(tiny_folder("vit"), images(tmp_path / "images"), RUN, engine="{checkpoint: 0}")
    path.write_text(said.replace("probes: [transfer]", "probes: [{kind: heads, split: test}]"))
    straight, told, ended = carry_out(path, tmp_path / "straight", monkeypatch)
    layers = [0, 1, 2]
    assert straight == layers * 3  # of the base, of the tuned model, of it without its adapter
    assert ended.kind == "done"
    measuring = [(event.text, event.step, event.steps) for event in told if event.kind == "measuring"]
    assert measuring == [("heads", done, 3) for done in (1, 2, 3)] * 3

    root = tmp_path / "shaken"
    asked = load_study(path)
    job, told = Job(plan(asked, Store(root))[0], root, asked.engine), []
    ended = attempt(job, told.append, lambda: any(event.kind == "measuring" for event in told))
    assert (ended.kind, ended.text) == ("stopped", "stopped while measuring heads, 1 of 3")
    assert files(root) == {"base": 1}
    # Killed in the second layer of the tuned model without its adapter, after two of the base, three of it.
    arguments = [sys.executable, "-c", KILLED, str(path), str(root), str(2 + 3 + 1)]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads()), "HF_HUB_OFFLINE": "1"}
    died = subprocess.run(arguments, env=threads, capture_output=True, text=True, timeout=120)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert files(root) == {"active": 5, "base_only": 1}  # three layers, all heads, gradients; one layer

    computed, told, ended = carry_out(path, root, monkeypatch)
    assert (computed, ended.kind) == ([1, 2], "done")
    assert not list((root / "unfinished").iterdir())
    one, other = (Store(place) for place in (root, tmp_path / "straight"))
    assert one.ids() == other.ids()
    assert one.verify() == []
    for run in one.ids():
        a, b = (store.read(run) for store in (one, other))
        assert a.arrays().keys() == b.arrays().keys()
        for name, array in a.arrays().items():
            np.testing.assert_array_equal(array, b.arrays()[name], err_msg=name)
        rows, expected = (
            [row for row in found.rows.to_pylist() if row["metric"] != "training.seconds"] for found in (a, b)
        )
        assert rows == expected
        saved = [found.weights for found in (a, b) if found.weights is not None]
        assert len({path.read_bytes() for path in saved}) == len(saved) // 2


def test_only_what_is_whole_and_of_this_model_is_believed(tmp_path, monkeypatch):
    unfinished = Store(tmp_path / "store").unfinished("0" * 64)
    made = []

    def make(value=1.0):
        made.append(value)
        return {"a": np.full((2, 3), value)[:, ::2], "none": np.empty((0, 4), np.float32)}

    kept = OnDisk(unfinished, "active", lambda: "this")
    first = kept("heads/layer00", make)
    again = OnDisk(unfinished, "active", lambda: "this")("heads/layer00", lambda: make(2.0))
    assert made == [1.0]
    assert list(first) == list(again) == ["a", "none"]
    for name in first:
        assert first[name].dtype == again[name].dtype
        np.testing.assert_array_equal(first[name], again[name])
    for which, model, key in (
        ("base_only", "this", "heads/layer00"),
        ("active", "another", "heads/layer00"),
        ("active", "this", "heads/layer01"),
    ):
        made.clear()
        OnDisk(unfinished, which, lambda model=model: model)(key, make)
        assert made, (which, model, key)
    (path,) = (path for path in unfinished.folder.rglob("*.safetensors") if b"another" in path.read_bytes())
    another = partial(OnDisk(unfinished, "active", lambda: "another"), "heads/layer00", make)
    whole = path.read_bytes()
    for broken in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        path.write_bytes(broken)
        made.clear()
        another()
        another()
        assert made == [1.0]
    monkeypatch.setattr(room, "BY", {"torch": "0.1"})
    OnDisk(unfinished, "active", lambda: "another")("heads/layer00", make)
    assert made == [1.0, 1.0]
    (unfinished.folder / MEASURED / "base").touch()
    with pytest.raises(StoreError, match="cannot keep what has been measured of run 0000000000000000"):
        OnDisk(unfinished, "base", lambda: "this")("heads/layer00", make)


def test_fingerprints_tell_names_types_and_values_apart():
    state = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3)}
    others = [
        {"b": state["a"], "a": state["b"]},
        {"a": state["a"].double(), "b": state["b"]},
        {"a": torch.tensor([1.0, 2.5]), "b": state["b"]},
        {"a": state["a"].bfloat16(), "b": state["b"]},
    ]
    assert fingerprint(dict(reversed(state.items()))) == fingerprint(state)
    assert len({fingerprint(other) for other in [state, *others]}) == 5
