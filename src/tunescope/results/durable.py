"""Files that are whole and on the disk when the call returns."""

import os
import uuid
from pathlib import Path


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and bring it to disk."""
    with open(path, "xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def replace(path: Path, content: bytes) -> None:
    """Put a file in the place of another at once: a reader sees the old one or the new one, whole."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        write_synced(aside, content)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
