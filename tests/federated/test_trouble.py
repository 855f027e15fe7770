"""A study's federated runs where clients misbehave, and where the process is killed."""

import os
import signal
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
from federated.small_runs import LORA, SPLIT, TRAIN

from tunescope import api
from tunescope.engine.federation import CLIENTS
from tunescope.engine.runtime import Runtime
from tunescope.engine.work import tune
from tunescope.errors import StudyError
from tunescope.federated import local
from tunescope.federated.client import TuningClient, TuningJob
from tunescope.results.store import Store
from tunescope.results.unfinished import MEASURED
from tunescope.study.engine import Engine
from tunescope.study.study import Study

TROUBLE = {
    "client-0": "raises",
    "client-1": "hangs",
    "client-2": "nan",
    "client-3": "shape",
    "client-4": "huge",
}
SEVEN = {"rounds": 2, "local_epochs": 2, "partition": {"kind": "iid", "clients": 7}}


@dataclass
class Troubled(TuningClient):
    """A client that misbehaves in the first round: one hangs in the middle of its training."""

    what: str = ""

    def fit(self, arrays, config):
        what = self.what if config["round"] == 1 else ""
        if what == "raises":
            raise OSError("no more disk")
        if what == "hangs":
            asked = []

            def stopping():
                """Asked before the first step, and after it."""
                asked.append(1)
                return len(asked) > 1 and bool(time.sleep(600))

            job = replace(self.job, stopping=stopping)
            return TuningClient(job, self.name, self.holding).fit(arrays, config)
        back, told, n = super().fit(arrays, config)
        if self.what == "mute":
            return back, {"loss": np.nan}, n
        name = min(name for name in back if name.endswith("/b"))
        changed = {
            "nan": lambda array: array * np.nan,
            "shape": lambda array: array[:-1],
            "huge": lambda array: array + np.float32(1e6),
        }.get(what, lambda array: array)
        return {**back, name: changed(back[name])}, told, n

    def evaluate(self, arrays, config):
        told, n = super().evaluate(arrays, config)
        return ({} if self.what == "mute" else told), n


@dataclass
class TroubledJob(TuningJob):
    """A study's job, some of whose clients misbehave."""

    trouble: dict | None = None

    def client(self, name):
        return Troubled(self, name, self.held[name], (self.trouble or {}).get(name, ""))


def tuned(spec, trouble):
    def run(job, serve):
        given = (job.spec, job.encoder, job.installed, job.head, job.held, job.examples)
        return local.run(TroubledJob(*given, trouble=trouble), serve)

    return tune(spec, engine=Engine(client_timeout=10), runtime=Runtime(run))


def test_clients_that_misbehave_are_left_out_by_name_and_the_others_go_on(spec):
    """One that hangs in the middle of its turn leaves nothing behind that the others would see."""
    said = spec(LORA, SEVEN | {"strategy": "flora"})
    found = tuned(said, TROUBLE)
    lines = {line["dropped"]: line["because"] for line in found.history.log if "dropped" in line}
    assert sorted(lines) == sorted(TROUBLE)
    for client, cause in {
        "client-0": "failed: OSError: no more disk",
        "client-1": "did not answer within 10 s",
        "client-2": "not finite",
        "client-3": "expected float32",
        "client-4": "the limit of this round",
    }.items():
        assert cause in lines[client]
    rows: dict[str, list[float]] = {row.metric: [] for row in found.history.rows}
    for row in found.history.rows:
        rows[row.metric].append(row.value)
    assert rows["federated.dropped"] == [5, 0]
    assert rows["federated.clients"] == [2, 7]
    like = tuned(said, dict.fromkeys(TROUBLE, "raises"))
    for name, value in like.weights().items():
        np.testing.assert_array_equal(found.weights()[name].numpy(), value.numpy())


def test_a_client_that_says_no_numbers_of_sense_has_no_rows(spec):
    """Its arrays are used; what a client says besides is its own."""
    two = {"rounds": 1, "partition": {"kind": "iid", "clients": 2}}
    rows = tuned(spec(LORA, two), {"client-0": "mute"}).history.rows
    for metric in ("loss", "personal", "global"):
        assert [row.component for row in rows if row.metric == f"federated.{metric}"] == ["client-1"]


def test_a_time_limit_that_cannot_be_held_is_an_error(spec):
    from concurrent.futures import ThreadPoolExecutor

    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(StudyError, match="client_timeout: 10 s cannot be held"),
    ):
        pool.submit(tuned, spec(LORA, SEVEN), {}).result()


def study_of(model, images) -> Study:
    sampled = {
        "rounds": 4,
        "partition": {"kind": "iid", "clients": 3},
        "sample": 0.67,
        "keep_optimizer": True,
    }
    return Study.parse(
        {
            "study": "killed",
            "model": str(model),
            "task": {"data": f"folder:{images}", "split": SPLIT},
            "train": TRAIN | {"monitor": {"probes": ["attention"], "every": "epoch"}},
            "federated": sampled,
            "probes": ["transfer"],
            "runs": {"flora": {"adapt": LORA, "lr": 1e-2, "federated": {"strategy": "flora"}}},
            "engine": {"retries": 2, "cpus": 1},
        },
        "test",
    )


def test_killed_for_real_and_carried_on_is_as_straight_through(one_block, federated_images, tmp_path):
    study, killed = study_of(one_block, federated_images), []

    def kill(event):
        """SIGKILL in the second round and in the third, when one of their clients has kept its moments."""
        if event.kind == "step" and event.step == len(killed) + 1 <= 2:
            killed.append(event.step)
            folder = Store(tmp_path / "shaken" / "store").unfinished(event.run.id).folder / MEASURED / CLIENTS
            ends = time.monotonic() + 60
            while not any(folder.glob(f"*/{event.step + 1}.safetensors")) and time.monotonic() < ends:
                time.sleep(0.001)
            os.kill(event.pid, signal.SIGKILL)

    shaken = api.run(study, tmp_path / "shaken", kill, executor="process", workers=1)
    straight = api.run(study, tmp_path / "straight", executor="serial")
    assert killed == [1, 2]
    found = [published(run, tmp_path / name) for run, name in ((shaken, "shaken"), (straight, "straight"))]
    assert found[0] == found[1]


def published(result, root):
    [run] = result.runs
    found = Store(root / "store").read(run.id)
    assert found.weights is not None
    took = ("training.seconds", "training.memory")
    rows = [row for row in found.rows.to_pylist() if row["metric"] not in took]
    return rows, found.weights.read_bytes(), (found.folder / "arrays.safetensors").read_bytes()
