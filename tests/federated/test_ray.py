"""Ray for real, once: the arrays of the local runtime, of a toy whose clients fail and of a study's run."""

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import toy_on_ray
from federated.small_runs import LORA, SPLIT, TRAIN
from toy_federation import NAMES, Toy

from tunescope.federated import local
from tunescope.federated.keep import KeptFile
from tunescope.results.store import Store
from tunescope.study.study import Study, dump_study

TESTS = Path(toy_on_ray.__file__).parent


def study_of(model, images, **engine) -> Study:
    three = {"rounds": 2, "partition": {"kind": "iid", "clients": 3}, "sample": 0.67, "keep_optimizer": True}
    return Study.parse(
        {
            "study": "on-ray",
            "model": str(model),
            "task": {"data": f"folder:{images}", "split": SPLIT},
            "train": TRAIN,
            "federated": three,
            "probes": ["transfer"],
            "runs": {"flora": {"adapt": LORA, "lr": 1e-2, "federated": {"strategy": "flora"}}},
            "engine": engine,
        },
        "test",
    )


def test_the_arrays_are_those_of_the_local_runtime(one_block, federated_images, tmp_path):
    path, asked = tmp_path / "server.safetensors", tmp_path / "study.yaml"
    asked.write_text(
        dump_study(study_of(one_block, federated_images, federation="ray", client_timeout=60, cpus=2))
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, toy_on_ray.__file__, str(path), str(asked), str(tmp_path / "store")],
        env={**environment, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    kept = KeptFile(path).read()
    assert kept is not None
    here = {
        name: {n: "raise" if what == "die" else what for n, what in of.items()}
        for name, of in toy_on_ray.TROUBLE.items()
    }
    expected = local.run(Toy(NAMES, here), toy_on_ray.serve)
    there: list[dict] = [one | {"seconds": 0} for one in kept.values["rounds"]]
    died = there[0]["dropped"].pop("ada")
    assert died.startswith("failed: Actor")
    alike: list[dict] = [asdict(one) | {"seconds": 0} for one in expected.rounds]
    assert alike[0]["dropped"].pop("ada") == "failed: RuntimeError: no more disk"
    assert there == alike
    assert sum(len(one["dropped"]) for one in there) == 3  # nobody is asked of a process that has died
    assert kept.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(kept.arrays[name], array, strict=True)

    # Two clients at a time on two cores: each computes on one, and here they do too. Only what the server
    # measures is computed on two there.
    run = toy_on_ray.carried_out(study_of(one_block, federated_images, cpus=1), tmp_path / "here")
    weights, told = published(run, tmp_path / "here")
    away, said = published(run, tmp_path / "store")
    assert away == weights
    assert [row | {"value": pytest.approx(row["value"], rel=1e-5)} for row in told] == said
    assert len(told) > 10


def published(run, root):
    """The weights of a run, and what is told of its clients."""
    found = Store(root).read(run)
    assert found.weights is not None
    rows = [row for row in found.rows.to_pylist() if row["metric"].startswith("federated.")]
    return found.weights.read_bytes(), rows
