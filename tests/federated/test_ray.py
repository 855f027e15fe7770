"""Ray for real, once: the arrays of the local runtime, and the same clients left out for the same reasons."""

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import toy_on_ray
from toy_federation import NAMES, Toy

from tunescope.federated import local
from tunescope.federated.keep import KeptFile

TESTS = Path(toy_on_ray.__file__).parent


def test_the_arrays_are_those_of_the_local_runtime(tmp_path):
    path = tmp_path / "server.safetensors"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, toy_on_ray.__file__, str(path)],
        env={**environment, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    kept = KeptFile(path).read()
    assert kept is not None
    expected = local.run(Toy(NAMES, toy_on_ray.TROUBLE), toy_on_ray.serve)
    assert kept.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(kept.arrays[name], array, strict=True)
    alike = [[{**one, "seconds": 0} for one in told] for told in (kept.values["rounds"], _told(expected))]
    assert alike[0] == alike[1]
    assert [sorted(one["dropped"]) for one in alike[0]] == [
        [name for name in one["asked"] if toy_on_ray.TROUBLE.get(name, {}).get(one["number"])]
        for one in alike[0]
    ]
    assert any(one["dropped"] for one in alike[0])


def _told(outcome):
    return [asdict(one) for one in outcome.rounds]
