import os
import shutil
import time

import pytest
from results.runs_on_disk import identity_of, write_run

from tunescope.results.garbage import YOUNG, Freed
from tunescope.results.lock import held
from tunescope.results.store import Store

ASIDE = "0123456789abcdef" * 2


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "a store [1]*")


def publish(store, *numbers):
    for number in numbers:
        store.publish(identity_of(number), lambda folder, number=number: write_run(folder, number))


def keep(store, number, size=100):
    store.unfinished(identity_of(number)).write(lambda folder: (folder / "state").write_bytes(bytes(size)))
    folder = store.unfinished(identity_of(number)).read()
    assert folder is not None
    return folder


def test_orphans_go_and_what_lives_stays(store):
    publish(store, 0)
    orphan, live = store.root / "tmp" / "orphan", store.root / "tmp" / "live"
    for folder in (orphan, live):
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(bytes(1000))
    (store.root / "tmp" / "lone.lock").touch()
    (store.root / "tmp" / "away").symlink_to(store.root.parent)
    (store.root / "claims").mkdir(exist_ok=True)
    (store.root / "claims" / "0123456789abcdef.lock").touch()
    with held(live.with_suffix(".lock")), store.claim(identity_of(1)):
        assert store.gc() == Freed(folders=1, claims=1, bytes=1000, compacted=1)
        assert sorted(os.listdir(store.root / "tmp")) == ["away", "live", "live.lock"]
        assert os.listdir(store.root / "claims") == [f"{identity_of(1)[:16]}.lock"]
    assert store.gc().folders == 1
    assert store.ids() == [identity_of(0)]
    assert store.root.parent.exists()


def test_checkpoints_of_published_and_of_broken_runs_go(store):
    publish(store, 0)
    for number in (0, 1, 2, 3):
        keep(store, number)
    broken = store.unfinished(identity_of(2)).read()
    assert broken is not None
    (broken / "state").write_bytes(bytes(99))
    foreign = store.unfinished(identity_of(4)).folder
    shutil.copytree(store.unfinished(identity_of(3)).folder, foreign)
    freed = store.gc()
    assert (freed.checkpoints, freed.leftovers) == (3, 0)
    assert freed.bytes > 299
    assert sorted(os.listdir(store.root / "unfinished")) == sorted(identity_of(n)[:16] for n in (1, 3))
    assert store.unfinished(identity_of(3)).read() is not None
    assert os.listdir(store.root / "claims") == []


def test_of_a_run_half_way_the_newest_whole_checkpoint_stays_and_what_was_measured(store):
    newest = keep(store, 0)
    folder = newest.parent
    older, broken = folder / "0", folder / "99"
    shutil.copytree(newest, broken)
    (broken / "state").unlink()
    (folder / "new").mkdir()
    (folder / "new" / "state").write_bytes(bytes(7))
    older.mkdir()
    (folder / "measured").mkdir()
    assert store.gc().leftovers == 3
    assert sorted(os.listdir(folder)) == sorted([newest.name, "measured"])


def test_a_claimed_runs_checkpoints_are_never_touched(store):
    newest = keep(store, 0)
    (newest.parent / "new").mkdir()  # what its process writes at this moment
    (newest / "state").unlink()
    with store.claim(identity_of(0)) as mine:
        assert mine
        assert store.gc() == Freed()
        assert sorted(os.listdir(newest.parent)) == sorted(["new", newest.name])
    assert store.gc().checkpoints == 1


def test_discarded_runs_and_decoded_images_go(store):
    publish(store, 0, 1)
    store.discard(identity_of(1))
    (store.root / "discarded" / "a link").symlink_to(store.root / "runs")
    cache = store.root / "decoded"
    cache.mkdir()
    (cache / "abc.npy").write_bytes(bytes(50))
    (cache / "more").mkdir()
    (cache / "more" / "x").write_bytes(bytes(5))
    fresh, killed = cache / f"d.npy.{ASIDE}", cache / f"e.npy.{ASIDE}"
    for path in (fresh, killed):
        path.write_bytes(bytes(3))
    before = time.time() - 2 * YOUNG
    os.utime(killed, (before, before))
    freed = store.gc()
    assert (freed.discarded, freed.decoded, freed.compacted) == (2, 3, 1)
    assert os.listdir(store.root / "discarded") == []
    assert os.listdir(cache) == [fresh.name], "a file that is being written was taken away"
    assert store.ids() == [identity_of(0)]


def test_what_a_killed_replace_left_goes_and_what_a_live_one_writes_stays(store):
    publish(store, 0)
    store.fail(identity_of(1), "killed")
    store.compact()
    left = [
        store.root / f"store.json.{ASIDE}",
        store.root / "failures" / f"{identity_of(1)[:16]}.json.{ASIDE}",
        store.root / "compact" / f"rows.parquet.{ASIDE}",
    ]
    for path in left:
        path.write_bytes(bytes(10))
    mine = store.root / "failures" / f"readme.{ASIDE[1:]}"
    mine.write_text("not one of ours")
    with held(left[1]) as writing:
        assert writing
        freed = store.gc()
        assert (freed.leftovers, freed.bytes) == (2, 20)
        assert left[1].exists()
    assert not any(path.exists() for path in left)
    assert mine.exists()
    assert store.failures()[identity_of(1)]["tries"] == 1
    assert sorted(os.listdir(store.root / "compact")) == ["rows.parquet", "rows.sha256"]


def test_it_compacts_and_a_second_time_there_is_nothing_to_do(store):
    publish(store, 0, 1)
    assert store.gc() == Freed(compacted=2)
    before = (store.root / "compact" / "rows.parquet").stat().st_ino
    assert store.gc() == Freed(compacted=2)
    assert (store.root / "compact" / "rows.parquet").stat().st_ino == before
    assert "gc.lock" not in os.listdir(store.root)
