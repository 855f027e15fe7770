import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from results.runs_on_disk import identity_of

from tunescope.results.store import Store

SCRIPT = Path(__file__).with_name("processes.py")


def in_a_process(verb: str, root: Path, *more: str, inside: tuple[str, ...] = ()) -> dict:
    command = [*inside, sys.executable, str(SCRIPT), verb, str(root), *more]
    done = subprocess.run(command, capture_output=True, text=True)
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


def test_killed_at_any_moment_a_whole_checkpoint_is_there_and_none_goes_back(tmp_path):
    said = in_a_process("checkpoint", tmp_path / "store")
    assert said["kills"] > 10
    assert said["newest"] > 10
    assert said["lost"] == 0
    store = Store(tmp_path / "store")
    unfinished = store.unfinished(identity_of(0))
    newest = unfinished.read()
    assert newest is not None
    store.gc()
    assert os.listdir(unfinished.folder) == [newest.name]


def test_a_full_disk_is_said_and_leaves_the_old_state(tmp_path):
    (tmp_path / "store").mkdir()
    own_mounts = ("unshare", "--map-root-user", "--mount")
    if shutil.which("unshare") and not subprocess.run([*own_mounts, "true"], capture_output=True).returncode:
        said = in_a_process("full", tmp_path / "store", "tmpfs", inside=own_mounts)
    else:
        said = in_a_process("full", tmp_path / "store")
    kinds = ("python", "parquet", "safetensors")
    assert set(said["said"]) == {
        *(f"publish {kind}" for kind in kinds),
        *(f"checkpoint {kind}" for kind in kinds),
        "failure",
        "compact",
    }
    reason = {"tmpfs": "No space left on device", "limit": "File too large"}[said["disk"]]
    for message in said["said"].values():
        assert str(tmp_path / "store") in message
        assert reason in message
        assert "Free some space" in message
    assert said["as before"]
    assert said["runs"] == 2
