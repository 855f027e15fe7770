"""Files that are whole and on the disk when the call returns."""

import os
import re
import shutil
import uuid
from pathlib import Path

from tunescope.results.lock import held

ASIDE = re.compile(r".+\.[0-9a-f]{32}")  # what a killed `replace` leaves behind is called


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and bring it to disk."""
    with open(path, "xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def replace(path: Path, content: bytes) -> None:
    """Put a file in the place of another at once: a reader sees the old one or the new one, whole.

    It is written beside its place, under a lock: whoever gets that lock knows that the writer was killed.
    """
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    with held(aside, wait=True):  # what did not get into place is removed on the way out
        with open(aside, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def remove(path: Path) -> int:
    """Remove a file, a link (not what it leads to) or a folder, if it is there; how many bytes that were."""
    if path.is_symlink() or not path.is_dir():
        try:
            size = os.lstat(path).st_size
            path.unlink()
            return size
        except FileNotFoundError:
            return 0
    size = sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(path) for name in names)
    shutil.rmtree(path)
    return size
