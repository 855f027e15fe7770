import json
import os
import subprocess
import sys
from pathlib import Path

from results.runs_on_disk import identity_of, write_run

from tunescope.results.store import Store

SCRIPT = Path(__file__).with_name("processes.py")


def in_a_process(verb: str, root: Path) -> dict:
    done = subprocess.run([sys.executable, str(SCRIPT), verb, str(root)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_of_eight_processes_one_claims_a_run_and_publishes_it(tmp_path):
    said = in_a_process("race", tmp_path / "store")
    assert said == {"claims": ["0"] * 7 + ["1"], "codes": [0] * 8}
    store = Store(tmp_path / "store")
    assert store.ids() == [identity_of(0)]
    assert store.verify() == []
    assert os.listdir(store.root / "claims") == os.listdir(store.root / "tmp") == []


def test_killed_writers_leave_whole_runs_and_orphans_that_gc_removes(tmp_path):
    said = in_a_process("kill", tmp_path / "store")
    store = Store(tmp_path / "store")
    published = store.ids()
    assert said["kills"] > 10
    assert published
    assert store.verify() == []
    assert len(os.listdir(store.root / "runs")) == len(published)
    orphans = [path for path in (store.root / "tmp").iterdir() if path.is_dir()]
    freed = store.gc()
    assert freed.folders == len(orphans)
    assert os.listdir(store.root / "tmp") == os.listdir(store.root / "claims") == []
    assert store.ids() == published
    missing = next(number for number in range(10**6) if identity_of(number) not in published)
    with store.claim(identity_of(missing)) as mine:
        assert mine, "a claim outlived its killed holder"


def test_a_full_disk_is_said_and_changes_nothing(tmp_path):
    store = Store(tmp_path / "store")
    store.publish(identity_of(0), lambda folder: write_run(folder, 0))
    said = in_a_process("full", store.root)
    assert set(said) == {"python", "parquet", "safetensors", "failure"}
    for message in said.values():
        assert str(store.root) in message
        assert "File too large" in message
        assert "Free some space" in message
    assert store.ids() == [identity_of(0)]
    assert store.verify() == []
    assert store.failure(identity_of(1)) is None
    for folder in ("tmp", "failures"):
        assert os.listdir(store.root / folder) == []
