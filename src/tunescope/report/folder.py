"""A folder of files that is written whole or not at all."""

import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from tunescope.results.durable import remove, sync_folder, write_synced
from tunescope.results.lock import held


def replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put a folder with exactly these files in the place of another, or of none.

    It is written beside its place and renamed. A folder that holds these files already is left as it is; one
    that holds others is gone for the moment between two renames, and a reader then finds no folder. One
    writer at a time; what a killed one left behind is removed.

    Args:
        folder: where; its parent must exist. A link in its place is replaced, not followed.
        files: path below the folder, with `/`, → content. No files: the folder is removed.

    Raises:
        OSError: it cannot be written.
    """
    with held(folder.with_name(f"{folder.name}.lock"), wait=True):
        aside = re.compile(re.escape(folder.name) + r"\.[0-9a-f]{32}")
        for name in os.listdir(folder.parent):
            if aside.fullmatch(name):
                remove(folder.parent / name)
        if _found(folder) == dict(files):
            return
        new, old = (folder.with_name(f"{folder.name}.{uuid.uuid4().hex}") for _ in range(2))
        if files:
            _write(new, files)
        if os.path.lexists(folder):
            os.rename(folder, old)
        if files:
            os.rename(new, folder)
        sync_folder(folder.parent)
        remove(old)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        folders = {folder / part for name in files for part in PurePosixPath(name).parents}
        for each in sorted(folders):
            each.mkdir()
        for name, content in files.items():
            write_synced(folder / name, content)
        for each in folders:
            sync_folder(each)
    except BaseException:
        remove(folder)
        raise


def _found(folder: Path) -> dict[str, bytes] | None:
    """What lies in the folder; None where it is none, or holds more than plain files."""
    if folder.is_symlink() or not folder.is_dir():
        return {} if not os.path.lexists(folder) else None
    found: dict[str, bytes] = {}
    for at, _, names in os.walk(folder):
        for name in names:
            path = Path(at, name)
            if path.is_symlink() or not path.is_file():
                return None
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found or None
