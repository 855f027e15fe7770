"""What in a store is not as it was published."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tunescope.results.layout import KEY, key_of
from tunescope.results.manifest import MANIFEST, Manifest, Unsound


@dataclass(frozen=True)
class Problem:
    """Something in the store that is not as it was published.

    Args:
        key: the folder's name below `runs/`, 16 hexadecimal digits for a run; what `Store.discard` takes.
        run: the full identity; None where the manifest cannot be read.
        file: the file, or None for the folder as a whole.
        reason: what is wrong with it.

    >>> print(Problem("0123456789abcdef", None, "rows.parquet", "missing"))
    runs/0123456789abcdef/rows.parquet: missing
    """

    key: str
    run: str | None
    file: str | None
    reason: str

    def __str__(self) -> str:
        return f"runs/{self.key}{'/' + self.file if self.file else ''}: {self.reason}"


def problems(root: Path, key: str, run: str | None = None) -> Iterator[Problem]:
    """Everything wrong with one folder below `runs/`, read to the last byte.

    Args:
        root: the store's folder.
        key: the folder's name.
        run: the identity that it should hold, where it is known.
    """
    folder = root / "runs" / key
    if not KEY.fullmatch(key):
        yield Problem(key, None, None, "is not a run's folder; remove it")
        return
    if run is not None and not os.path.lexists(folder):
        yield Problem(key, run, None, "not published")
        return
    try:
        manifest = Manifest.read(folder)
    except Unsound as error:
        yield Problem(key, run, error.file, error.reason)
        return
    if key_of(manifest.run) != key or run not in (None, manifest.run):
        yield Problem(key, run, MANIFEST, f"is that of run {manifest.run}")
        return
    for error in manifest.check(folder, contents=True):
        yield Problem(key, manifest.run, error.file, error.reason)
