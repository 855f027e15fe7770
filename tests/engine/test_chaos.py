"""What goes wrong in real life, on purpose: nothing is lost, nothing is corrupt, everything is named."""

import contextlib
import json
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import command
import psutil
import pytest
from tiny_study import images, study

from tunescope.results.store import Store

GRID = """
  fine: {adapt: full, lr: [1.0e-4, 1.0e-3]}
  diverges: {adapt: full, lr: 1.0e+30}
  hangs: {adapt: full, lr: 1.0e-3, penalties: [{kind: chaos, what: hang}]}
  is-killed: {adapt: full, lr: 1.0e-3, penalties: [{kind: chaos, what: kill}]}
  is-too-large: {adapt: full, lr: 1.0e-3, penalties: [{kind: chaos, what: memory}]}
  breaks: {adapt: full, lr: 1.0e-3, penalties: [{kind: chaos, what: error}]}
"""
MANY = ", ".join(f"{k}.0e-4" for k in range(1, 13))  # times two seeds


@pytest.fixture
def write(tmp_path: Path, tiny_folder) -> Callable[..., Path]:
    """Writes a study of a tiny model next to its images."""
    data = images(tmp_path / "images")

    def written(runs: str, **settings: str) -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(study(tiny_folder("vit"), data, runs, **settings))
        return path

    return written


def standing(path: Path, results: Path) -> dict[str, dict]:
    """Every run as `tunescope plan` has it, by name."""
    code, out, err = command.run("plan", path, "--results", results, "--json")
    assert code == 0, err
    return {run["name"]: run for run in json.loads(out)}


def test_one_bad_run_of_each_kind_takes_no_other_down(tmp_path, write):
    path = write(GRID, engine="{timeout: 20, retries: 0}")
    code, _, err = command.run("run", path, "--results", tmp_path / "results", "--workers", 2)
    assert code == 1, err
    assert "Traceback" not in err
    runs = {name.split()[0]: run for name, run in standing(path, tmp_path / "results").items()}
    assert runs["fine"]["state"] == "done"
    assert runs["diverges"]["state"] == "failed"
    assert "diverged at step" in runs["diverges"]["cause"]
    for group, cause in {
        "hangs": "took longer than engine.timeout, 20 s",
        "is-killed": "its process was ended by SIGKILL",
        "is-too-large": "out of memory",
        "breaks": "ValueError: on purpose (in chaos_plugin.py:",
    }.items():
        assert runs[group]["state"] == "quarantined"
        assert cause in runs[group]["cause"]
        assert f"quarantined: {group}" in err
    assert "--retry" in err
    # nothing is carried out again until it is asked for, and then that alone
    code, _, err = command.run("run", path, "--results", tmp_path / "results")
    assert code == 1
    assert "to carry out now" not in err
    code, _, err = command.run("run", path, "--results", tmp_path / "results", "--retry", "--only", "breaks")
    assert code == 1
    assert "7 runs, 3 of them there already, 1 to carry out now" in err


def test_what_fails_once_is_tried_again(tmp_path, write):
    once = tmp_path / "once"
    runs = f"{{shaky: {{adapt: full, lr: 1.0e-3, penalties: [{{kind: chaos, what: kill, once: '{once}'}}]}}}}"
    path = write(runs)
    code, _, err = command.run("run", path, "--results", tmp_path / "results")
    assert code == 0, err
    assert "retried shaky" in err
    assert once.exists()
    assert Store(tmp_path / "results" / "store").failures() == {}


def test_the_first_failure_ends_the_rest_if_asked(tmp_path, write):
    groups = "breaks: {adapt: full, lr: 1.0e-3, penalties: [{kind: chaos, what: error}]}, "
    path = write(f"{{{groups} fine: {{adapt: full, lr: [{MANY}]}}}}", engine="{retries: 0}")
    results = tmp_path / "results"
    code, _, err = command.run("run", path, "--results", results, "--workers", 2, "--fail-fast")
    assert code == 1, err
    runs = standing(path, results)
    assert runs.pop("breaks lr=0.001 seed=0")["state"] == "quarantined"
    assert [run["state"] for run in runs.values()].count("missing") > 6


def test_only_and_limit_choose(tmp_path, write):
    path = write(f"{{a: {{adapt: full, lr: [{MANY}]}}, b: {{adapt: linear_probe, lr: [{MANY}]}}}}")
    results = tmp_path / "results"
    code, _, err = command.run("run", path, "--results", results, "--only", "b", "--limit", 2)
    assert code == 0, err
    runs = standing(path, results)
    assert [name for name, run in runs.items() if run["state"] == "done"] == [
        "b lr=0.0001 seed=0",
        "b lr=0.0002 seed=0",
    ]
    code, _, err = command.run("run", path, "--results", results, "--only", "c*")
    assert code == 2
    assert "--only 'c*'" in err


@contextlib.contextmanager
def at_work(path: Path, results: Path) -> Iterator[subprocess.Popen]:
    process = command.start(
        "run", path, "--results", results, "--workers", 2, "--quiet", start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_many_runs_through_twenty_seconds_of_kills(tmp_path, write):
    path = write(f"{{many: {{adapt: full, lr: [{MANY}]}}}}\nseeds: [0, 1]", engine="{checkpoint: 0}")
    straight, shaken = tmp_path / "straight", tmp_path / "shaken"
    code, _, err = command.run("run", path, "--results", straight, "--workers", 2)
    assert code == 0, err
    generator, killed = random.Random(0), {"supervisor": 0, "others": 0}
    begun = time.monotonic()

    def over() -> bool:
        """After twenty seconds, and more where a slow machine had too few to kill by then."""
        seconds = time.monotonic() - begun
        return seconds > 120 or (seconds > 20 and killed["supervisor"] > 0 and killed["others"] > 5)

    while not over():
        with at_work(path, shaken) as process:
            while process.poll() is None and not over():
                time.sleep(generator.uniform(0.1, 1.5))
                with contextlib.suppress(psutil.NoSuchProcess):
                    supervisor = psutil.Process(process.pid)
                    family = supervisor.children(recursive=True)
                    who = "supervisor" if generator.random() < 0.15 else "others"
                    if who == "supervisor" or family:
                        victim = supervisor if who == "supervisor" else generator.choice(family)
                        victim.send_signal(signal.SIGKILL)
                        killed[who] += 1
        if all(run["state"] != "missing" for run in standing(path, shaken).values()):
            break
    assert killed["supervisor"] > 0
    assert killed["others"] > 5
    store = Store(shaken / "store")
    assert store.verify() == []
    code, _, err = command.run("run", path, "--results", shaken, "--workers", 2, "--retry")
    assert code == 0, err
    assert store.verify() == []
    assert command.comparable(shaken / "tiny").equals(command.comparable(straight / "tiny"))
    store.gc()
    assert {folder.name for folder in (shaken / "store" / "tmp").iterdir()} == set()
    assert not any((shaken / "store" / "unfinished").iterdir())
