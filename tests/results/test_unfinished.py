import os
import shutil

import pytest
from results.runs_on_disk import identity_of, write_run

from tunescope.errors import StoreError
from tunescope.results.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "a store [1]*")


def keep(unfinished, text):
    def write(folder):
        (folder / "state.safetensors").write_text(text, encoding="utf-8")
        (folder / "log.jsonl").write_text(text, encoding="utf-8")

    unfinished.write(write)


def said(unfinished):
    folder = unfinished.read()
    return None if folder is None else (folder / "state.safetensors").read_text("utf-8")


def test_the_newest_checkpoint_is_there_and_alone(store):
    unfinished = store.unfinished(identity_of(0))
    assert unfinished.read() is None
    for text in ("one", "two", "three"):
        keep(unfinished, text)
        assert said(unfinished) == text
        assert len(os.listdir(unfinished.folder)) == 1
    assert said(Store(store.root).unfinished(identity_of(0))) == "three"
    assert said(store.unfinished(identity_of(1))) is None
    assert store.half_way() == [identity_of(0)[:16]]
    unfinished.clear()
    unfinished.clear()
    assert unfinished.read() is None
    assert store.half_way() == []


def test_one_that_is_broken_counts_as_none_whichever_byte_it_is(store):
    unfinished = store.unfinished(identity_of(0))
    keep(unfinished, "state")
    folder = unfinished.read()
    assert folder is not None
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert unfinished.read() is None
        path.unlink()
        assert unfinished.read() is None
        path.write_bytes(content)
    assert unfinished.read() == folder
    (folder / "more").touch()
    assert unfinished.read() is None
    keep(unfinished, "next")
    assert said(unfinished) == "next"
    assert len(os.listdir(unfinished.folder)) == 1


def test_where_the_newest_is_broken_the_one_before_it_counts(store):
    unfinished = store.unfinished(identity_of(0))
    keep(unfinished, "old")
    first = unfinished.read()
    assert first is not None
    later = unfinished.folder / str(int(first.name) + 9)  # by number: as a text it would come first
    shutil.copytree(first, later)
    assert unfinished.read() == later
    (later / "log.jsonl").write_text("x", encoding="utf-8")
    assert unfinished.read() == first


def test_one_of_another_run_counts_as_none(store):
    keep(store.unfinished(identity_of(1)), "theirs")
    mine = store.unfinished(identity_of(0))
    shutil.copytree(store.unfinished(identity_of(1)).folder, mine.folder)
    assert mine.read() is None


def test_an_exception_while_writing_leaves_the_one_before(store):
    unfinished = store.unfinished(identity_of(0))
    keep(unfinished, "old")

    def write(folder):
        (folder / "state.safetensors").write_text("half", encoding="utf-8")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unfinished.write(write)
    assert said(unfinished) == "old"
    assert len(os.listdir(unfinished.folder)) == 1


def test_only_plain_files_are_kept(store):
    unfinished = store.unfinished(identity_of(0))
    keep(unfinished, "old")
    with pytest.raises(StoreError, match=r"cannot keep a checkpoint of run .*is not a plain file"):
        unfinished.write(lambda folder: (folder / "more").mkdir())
    assert said(unfinished) == "old"


def test_what_a_killed_writer_left_is_in_nobodys_way(store):
    unfinished = store.unfinished(identity_of(0))
    keep(unfinished, "old")
    (unfinished.folder / "new").mkdir()
    (unfinished.folder / "new" / "state.safetensors").write_text("half", encoding="utf-8")
    assert said(unfinished) == "old"
    keep(unfinished, "next")
    assert said(unfinished) == "next"
    assert len(os.listdir(unfinished.folder)) == 1


def test_publishing_a_run_clears_its_checkpoints_and_no_others(store):
    for number in (0, 1):
        keep(store.unfinished(identity_of(number)), "state")

    def fails(folder):
        raise OSError(28, "full")

    with pytest.raises(StoreError):
        store.publish(identity_of(0), fails)
    assert said(store.unfinished(identity_of(0))) == "state"
    store.publish(identity_of(0), lambda folder: write_run(folder, 0))
    assert store.unfinished(identity_of(0)).read() is None
    assert store.half_way() == [identity_of(1)[:16]]


def test_what_is_no_identity_becomes_no_path(store):
    with pytest.raises(StoreError, match="64 hexadecimal digits"):
        store.unfinished("../../elsewhere")
