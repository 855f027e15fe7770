import os

import pytest

from tunescope.report.folder import replace_folder

ONE = {"a.txt": b"1", "deep/er/b.txt": b"2"}
OTHER = {"a.txt": b"3"}


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_exactly_these_files_are_there_and_nothing_beside_them(tmp_path):
    folder = tmp_path / "heads"
    for wanted in (ONE, OTHER, ONE):
        replace_folder(folder, wanted)
        assert files(folder) == wanted
        assert os.listdir(tmp_path) == ["heads"]
    replace_folder(folder, {})
    assert os.listdir(tmp_path) == []


def test_the_same_files_are_left_as_they_are(tmp_path):
    folder = tmp_path / "heads"
    replace_folder(folder, ONE)
    before = folder.stat().st_ino
    replace_folder(folder, ONE)
    assert folder.stat().st_ino == before


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    folder = tmp_path / "heads"
    replace_folder(folder, ONE)
    with pytest.raises(OSError, match="File exists"):
        replace_folder(folder, {"a": b"cannot be a file", "a/b": b"and a folder"})
    assert files(folder) == ONE
    assert os.listdir(tmp_path) == ["heads"]


def test_what_a_killed_writer_left_is_removed_and_a_link_is_not_followed(tmp_path):
    (tmp_path / f"heads.{'0' * 32}").mkdir()
    (tmp_path / f"heads.{'0' * 32}" / "half").write_bytes(b"")
    (tmp_path / "heads.mine").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_bytes(b"!")
    (tmp_path / "heads").symlink_to(elsewhere)
    replace_folder(tmp_path / "heads", ONE)
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "heads", "heads.mine"]
    assert files(tmp_path / "heads") == ONE
    assert files(elsewhere) == {"precious": b"!"}
