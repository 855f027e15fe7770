import json
import subprocess
import sys

import pytest

from tunescope.cli.main import main

STUDY = """
study: cheap
model: emoji-clip
task: {data: emoji/openmoji, label: group, split: {train: 0.1, val: 0.05, probe: 0.05, test: 0.8}}
train: {epochs: 1, batch_size: 32}
probes: [attention]
runs: {probe: {adapt: linear_probe, lr: [1e-3, 1e-2]}}
seeds: [0, 1]
"""
TORCH_FREE = """
import sys
from tunescope.cli.main import main
code = main(sys.argv[1:])
assert 'torch' not in sys.modules
sys.exit(code)
"""


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A study none of whose runs is there, and what `plan --calibrate` printed about it."""
    folder = tmp_path_factory.mktemp("plan")
    (folder / "cheap.yaml").write_text(STUDY)
    command = ["plan", str(folder / "cheap.yaml"), "--results", str(folder / "results"), "--workers", "2"]
    said = [sys.executable, "-c", TORCH_FREE, *command]
    before = subprocess.run(said, capture_output=True, text=True)
    assert not (folder / "results").exists()
    return command, before, subprocess.run([*said, "--calibrate"], capture_output=True, text=True)


def test_what_is_not_known_is_a_question_mark_and_how_to_know_it_a_hint(calibrated):
    _, before, _ = calibrated
    assert before.returncode == 0, before.stderr
    assert before.stdout.count("  missing  ?\n") == 4
    assert before.stdout.endswith("4 missing\n")
    assert "--calibrate" in before.stderr


def test_a_calibration_gives_every_run_of_the_shape_its_cost(calibrated):
    _, _, after = calibrated
    assert after.returncode == 0, after.stderr
    assert after.stderr == "calibrating 1 of 1: runs like probe lr=0.001 seed=0\n"
    *lines, last = after.stdout.splitlines()
    costs = {line.split("  missing  ")[1] for line in lines}
    assert len(costs) == 1
    assert costs.pop().startswith("~")
    assert "; about " in last
    assert last.endswith(" with 2 workers")


def test_it_is_kept_and_not_made_again(calibrated, capsys):
    command, _, after = calibrated
    assert main([*command, "--calibrate"]) == 0
    again = capsys.readouterr()
    assert again.out == after.stdout
    assert again.err == ""
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert all(run["seconds"] > 0 and run["memory"] > 5e7 for run in document)
    assert main([*command, "--workers", "1", "--json"]) == 0  # twice the threads for each: another cost
    assert {run["seconds"] for run in json.loads(capsys.readouterr().out)} <= {None, document[0]["seconds"]}


def test_runs_that_are_there_cost_nothing(straight, capsys):
    folder, _ = straight
    assert main(["plan", str(folder / "small.yaml"), "--results", str(folder / "results")]) == 0
    said = capsys.readouterr()
    assert "?" not in said.out
    assert "about" not in said.out
    assert said.err == ""


def test_a_shape_that_cannot_be_calibrated_is_named_and_the_others_are_known(tmp_path, capsys):
    wide = STUDY.replace("runs: {", "runs: {wide: {adapt: {kind: lora, rank: 100000}, lr: 1e-3}, ")
    (tmp_path / "wide.yaml").write_text(wide)
    command = ["plan", str(tmp_path / "wide.yaml"), "--results", str(tmp_path / "results"), "--workers", "2"]
    assert main([*command, "--calibrate"]) == 1
    said = capsys.readouterr()
    assert "wide lr=0.001 seed=0: cannot be calibrated: " in said.err
    assert said.out.count("  missing  ?\n") == 2
    assert said.out.endswith(" with 2 workers for the 4 whose cost is known\n")


def test_a_run_of_two_groups_is_one_run(tmp_path, capsys):
    shared = STUDY.replace("runs: {", "runs: {again: {adapt: linear_probe, lr: 1e-3}, ")
    (tmp_path / "shared.yaml").write_text(shared)
    assert main(["plan", str(tmp_path / "shared.yaml"), "--results", str(tmp_path / "results")]) == 0
    assert "6 runs (4 different): 6 missing\n" in capsys.readouterr().out
