"""Advisory locks that die with their process: the kernel lets go of a `flock` on kill -9."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold the lock file `path` while the block runs; True where this process got it.

    The file is removed on the way out. Whoever opened it before that finds, after locking, that the name
    no longer leads to what was locked, and starts again; so two holders at once cannot be.

    Args:
        path: the lock file; made if it is not there. Its folder must exist.
        wait: wait for another holder to let go; otherwise say False at once.

    Raises:
        OSError: the file cannot be made, or the file system knows no locks.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, held(Path(folder, "a.lock")) as first:
    ...     with held(Path(folder, "a.lock")) as second:
    ...         print(first, second)
    True False
    """
    file = _locked(path, wait)
    if file is None:
        yield False
        return
    try:
        yield True
    finally:
        try:
            if _leads_to(path, file):  # not where somebody removed it and another made it anew
                path.unlink()
        finally:
            os.close(file)


def _locked(path: Path, wait: bool) -> int | None:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _leads_to(path, file):
                return file
        except BlockingIOError:
            os.close(file)
            return None
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _leads_to(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(file))
    except FileNotFoundError:
        return False
