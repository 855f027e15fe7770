import os
import subprocess
import sys

import numpy as np
import pytest
from tiny_study import images, study

from tunescope import api
from tunescope.results.store import Store
from tunescope.results.table import Table

LAUNCH = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29573", "-m"]
MONITOR = "{probes: [{kind: attention, pictures: 2}], every: epoch, examples: 4}"
RUNS = f"""{{
  full: {{adapt: full, lr: [1.0e-3, 1.0e+30]}},
  lora: {{adapt: {{kind: lora, rank: 2}}, lr: 1.0e-2, train: {{monitor: {MONITOR}}}}}
}}"""


def test_two_processes_carry_out_a_study_as_one_does(tiny_folder, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(study(tiny_folder("vit"), images(tmp_path / "images"), RUNS))
    command = ["tunescope.cli.main", "run", path, "--results", tmp_path / "two", "--executor", "serial"]
    done = subprocess.run(
        [sys.executable, *LAUNCH, *map(str, command)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    # torchrun has its own exit code for a failed process: the run that diverges makes it
    assert "2 of 3 runs done" in done.stderr, done.stderr
    assert done.stdout.count("report: ") == 1  # the first process alone speaks
    one = api.run(path, tmp_path / "one", executor="serial")
    table = Table.read(tmp_path / "two" / "tiny")
    assert [run["status"] for run in table.runs.to_pylist()] == ["done", "failed", "done"]
    assert "diverged at step" in table.runs.to_pylist()[1]["cause"]
    for metric in ("training.loss", "training.val_acc1"):
        found = table.curve(metric)["value"].to_pylist()
        assert found == pytest.approx(one.table.curve(metric)["value"].to_pylist(), rel=1e-4)
    for metric in ("transfer.loss", "transfer.acc1"):
        found, expected = ([run.value for run in t.per_run(metric)] for t in (table, one.table))
        assert found == pytest.approx(expected, rel=1e-3)
    assert Store(tmp_path / "two" / "store").verify() == []
    watched = table.runs.to_pylist()[2]["run"]
    found, expected = (Store(tmp_path / name / "store").read(watched).arrays() for name in ("two", "one"))
    assert len(expected["monitor.steps"]) > 1
    assert found.keys() == expected.keys()
    for name in ("monitor.steps", "monitor.attention.rollout"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3)
