"""Checkpoints of a run under way: the newest whole one is always there, whenever the process is killed."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from tunescope.results.durable import remove, sync_folder, write_synced
from tunescope.results.layout import entries, key_of, make
from tunescope.results.manifest import MANIFEST, Manifest, Unsound
from tunescope.results.writing import writing

NUMBER = re.compile(r"[1-9][0-9]{0,17}")
ASIDE = "new"
MEASURED = "measured"  # beside the checkpoints, and gone with them: what has been measured so far


class Unfinished:
    """The checkpoints of one run. Only the process that holds the run's claim may write or clear them.

    Args:
        root: the store's folder.
        run_id: the run's identity.
    """

    def __init__(self, root: Path, run_id: str):
        self.root, self.run_id = root, run_id
        self.folder = root / "unfinished" / key_of(run_id)

    def read(self) -> Path | None:
        """The folder of the newest whole checkpoint, read to the last byte; None where there is none.

        One that is broken, or of another run, counts as none.
        """
        numbers = sorted(numbers_in(self.folder), reverse=True)
        folders = (self.folder / str(number) for number in numbers)
        return next((folder for folder in folders if whole(folder) == self.run_id), None)

    def write(self, write: Callable[[Path], None]) -> None:
        """Put a new checkpoint in the place of the one before.

        It is written aside and synced, its manifest last, and renamed into place; only then does the one
        before it go.

        Args:
            write: writes the checkpoint's files into the empty folder that it is given.

        Raises:
            StoreError: the disk is full, may not be written, or `write` left something that is no plain file.
                The checkpoint before is still there.
        """
        aside = self.folder / ASIDE
        with writing(self.root, f"keep a checkpoint of run {self.run_id[:16]}"):
            make(self.root, "unfinished")
            self.folder.mkdir(exist_ok=True)
            sync_folder(self.folder.parent)
            try:
                remove(aside)  # of a process that was killed: the claim is ours now
                aside.mkdir()
                write(aside)
                manifest = Manifest.of(self.run_id, aside).dump()
                write_synced(aside / MANIFEST, manifest.encode())
                sync_folder(aside)
                before = numbers_in(self.folder)
                os.rename(aside, self.folder / str(max(before, default=0) + 1))
                sync_folder(self.folder)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        for number in before:
            shutil.rmtree(self.folder / str(number), ignore_errors=True)

    def clear(self) -> None:
        """Remove the run's checkpoints.

        Raises:
            StoreError: they cannot be removed.
        """
        with writing(self.root, f"clear the checkpoints of run {self.run_id[:16]}"):
            remove(self.folder)


def numbers_in(folder: Path) -> list[int]:
    """The numbers of the checkpoints in a run's folder, whole or not."""
    return [int(name) for name in entries(folder) if NUMBER.fullmatch(name)]


def whole(folder: Path) -> str | None:
    """Whose checkpoint it is; None where it is not whole."""
    try:
        manifest = Manifest.read(folder)
        return None if any(manifest.check(folder, contents=True)) else manifest.run
    except (Unsound, OSError):
        return None
