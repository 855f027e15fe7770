"""sha256 of files, remembered as long as they do not change."""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from tunescope.errors import DataError


@cache
def _content(path: str, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of one file's content; read again only when its size or time of change differs.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        status = path.stat()
        return _content(str(path.resolve()), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise DataError(f"file {path} cannot be read ({error.strerror})") from None


def files_digest(root: Path, files: Iterable[Path], *extra: str) -> str:
    """sha256 over `extra` and the sorted relative paths, sizes and contents of files below `root`."""
    digest = hashlib.sha256("\n".join(extra).encode())
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in files):
        content = file_digest(path)
        digest.update(f"\0{name}\0{path.stat().st_size}\0{content}".encode())
    return digest.hexdigest()
