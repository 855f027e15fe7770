import json
import os
import shutil

import pytest
from results.runs_on_disk import identity_of, write_run

from tunescope.errors import StoreError
from tunescope.results.layout import SCHEMA
from tunescope.results.store import Store


@pytest.fixture
def old(tmp_path):
    """A store as schema 1 was: its folders, a run, a record without a count."""
    made = Store(tmp_path / "made")
    made.publish(identity_of(0), lambda folder: write_run(folder, 0))
    root = tmp_path / "old"
    for name in ("runs", "tmp", "claims", "failures"):
        (root / name).mkdir(parents=True)
    (root / "store.json").write_text('{"schema": 1}\n', encoding="utf-8")
    shutil.copytree(made.root / "runs", root / "runs", dirs_exist_ok=True)
    record = {"run": identity_of(1), "kind": "error", "cause": "killed", "at": "2026-01-01T00:00:00+00:00"}
    (root / "failures" / f"{identity_of(1)[:16]}.json").write_text(json.dumps(record), encoding="utf-8")
    return root


def schema_of(root):
    return json.loads((root / "store.json").read_text("utf-8"))["schema"]


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_an_older_store_is_read_as_it_is(old):
    before = contents(old)
    store = Store(old)
    assert store.ids() == [identity_of(0)]
    assert store.read(identity_of(0)).outcome == {"status": "done"}
    assert store.verify() == []
    assert store.failures()[identity_of(1)]["tries"] == 1
    assert store.half_way() == []
    assert contents(old) == before


def publish(store):
    store.publish(identity_of(2), lambda folder: write_run(folder, 2))


def claim(store):
    with store.claim(identity_of(2)) as mine:
        assert mine


@pytest.mark.parametrize(
    "write",
    [
        publish,
        claim,
        lambda store: store.fail(identity_of(2), "killed"),
        lambda store: store.discard(identity_of(0)),
        lambda store: store.unfinished(identity_of(2)).write(lambda folder: (folder / "a").touch()),
        lambda store: store.compact(),
        lambda store: store.gc(),
    ],
)
def test_the_first_write_migrates_an_older_store_and_leaves_its_runs(old, write):
    runs = {name: content for name, content in contents(old).items() if name.startswith("runs/")}
    write(Store(old))
    assert schema_of(old) == SCHEMA == 2
    after = contents(old)
    there = {name: content for name, content in after.items() if name.startswith("runs/")}
    if "discarded" not in os.listdir(old):
        assert {name: there[name] for name in runs} == runs
    assert not [name for name in after if name.startswith("store.json.")]
    assert Store(old).verify() == []


def test_images_may_be_decoded_before_there_is_a_store(tmp_path):
    (tmp_path / "decoded").mkdir()
    publish(Store(tmp_path))
    assert schema_of(tmp_path) == SCHEMA
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "decoded").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(StoreError, match=r"not a store, and not empty \(it holds 'mine.txt'\)"):
        publish(Store(tmp_path / "other"))
