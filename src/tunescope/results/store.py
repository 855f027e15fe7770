"""The store of runs: published whole or not at all, claimed by one process at a time."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tunescope.errors import StoreError
from tunescope.results.compact import Compact, drop_compact, write_compact
from tunescope.results.durable import sync_folder, write_synced
from tunescope.results.failures import Failures
from tunescope.results.garbage import Freed, collect
from tunescope.results.layout import KEY, entries, folders_of_runs, is_store, key_of, make
from tunescope.results.lock import held
from tunescope.results.manifest import MANIFEST, Manifest, Unsound
from tunescope.results.problem import Problem, problems
from tunescope.results.published import Published
from tunescope.results.unfinished import Unfinished, numbers_in
from tunescope.results.writing import writing


class Store:
    """Runs by identity, below one folder that is made at the first write.

    Args:
        root: the store's folder.

    Raises:
        StoreError: the store was written by a newer tunescope, or its `store.json` cannot be read.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self._failures = Failures(self.root)
        is_store(self.root)

    def has(self, run_id: str) -> bool:
        """Whether the run is published, with every file in its size."""
        return self.find(run_id) is not None

    def find(self, run_id: str) -> Published | None:
        """The run, or None where it is not published whole."""
        folder = self._folder(run_id)
        try:
            manifest = Manifest.read(folder)
        except Unsound:
            return None
        if manifest.run != run_id or any(manifest.check(folder, contents=False)):
            return None
        return Published(run_id, folder)

    def read(self, run_id: str) -> Published:
        """The run.

        Raises:
            StoreError: it is not published, or something of it is missing.
        """
        found = self.find(run_id)
        if found is None:
            reasons = "; ".join(map(str, self.verify([run_id])))
            raise StoreError(f"{self.root}: {reasons}; run the study again to have it computed")
        return found

    def ids(self) -> list[str]:
        """The identities of all runs that are published whole, in order."""
        found = ((key, self._identity(key)) for key in entries(self.root / "runs"))
        return sorted(run for key, run in found if run is not None and run[:16] == key and self.has(run))

    def publish(self, run_id: str, write: Callable[[Path], None]) -> None:
        """Publish a run whole, or nothing of it.

        Its files are written aside and synced, the manifest last, and the folder is renamed into place.
        Publishing a run that is there already changes nothing: the first stays. The run's checkpoints go
        after it is in place.

        Args:
            run_id: the run's identity, 64 hexadecimal digits.
            write: writes the run's files into the empty folder that it is given.

        Raises:
            StoreError: the disk is full, may not be written, or `write` left something that is no plain file.
        """
        folder = self._folder(run_id)
        with writing(self.root, f"publish run {run_id[:16]}"):
            make(self.root, "runs", "tmp")
            aside = self.root / "tmp" / f"{run_id[:16]}-{uuid.uuid4().hex}"
            with held(aside.with_suffix(".lock"), wait=True):
                try:
                    aside.mkdir()
                    write(aside)
                    manifest = Manifest.of(run_id, aside).dump()
                    write_synced(aside / MANIFEST, manifest.encode())
                    sync_folder(aside)
                    self._place(run_id, aside, folder)
                    sync_folder(folder.parent)
                finally:
                    shutil.rmtree(aside, ignore_errors=True)
        with suppress(StoreError):  # the run is there; `gc` finds what is left of its checkpoints
            self.unfinished(run_id).clear()

    @contextmanager
    def claim(self, run_id: str) -> Iterator[bool]:
        """Claim a run for this process while the block runs, without waiting.

        Says True where the run is this process's to carry out: nobody else claims it and, looked at again
        after locking, it is not published. A claim ends with its process, however that ends.

        Raises:
            StoreError: the store cannot be written, or its file system knows no locks.
        """
        path = self.root / "claims" / f"{key_of(run_id)}.lock"
        with ExitStack() as stack:
            with writing(self.root, f"claim run {run_id[:16]}"):
                make(self.root, "claims")
                mine = stack.enter_context(held(path))
            yield mine and not self.has(run_id)

    def unfinished(self, run_id: str) -> Unfinished:
        """The run's checkpoints, for the process that holds its claim."""
        return Unfinished(self.root, run_id)

    def half_way(self) -> list[str]:
        """The first 16 digits of every run that has a checkpoint and is not published, in order."""
        keys = entries(self.root / "unfinished")
        return [
            key
            for key in keys
            if KEY.fullmatch(key)
            and numbers_in(self.root / "unfinished" / key)
            and not os.path.lexists(self.root / "runs" / key)
        ]

    def fail(self, run_id: str, cause: str, kind: str = "error") -> int:
        """Remember why a run could not be carried out.

        Args:
            run_id: the run.
            cause: what happened, for people.
            kind: the sort of thing it was, for programs.

        Returns:
            how often the run has failed by now.
        """
        return self._failures.add(run_id, cause, kind)

    def failure(self, run_id: str) -> dict[str, Any] | None:
        """What `fail` remembered of the run (`run`, `kind`, `cause`, `at`, `tries`), if anything."""
        return self._failures.find(run_id)

    def failures(self) -> dict[str, dict[str, Any]]:
        """Every remembered failure by the run's identity, as `failure` says it; unreadable ones stay out."""
        return self._failures.all()

    def failed_keys(self) -> set[str]:
        """The first 16 digits of every run of which a failure is remembered, by one listing."""
        return self._failures.keys()

    def clear_failure(self, run_id: str) -> None:
        """Forget why a run could not be carried out."""
        self._failures.clear(run_id)

    def verify(self, ids: Iterable[str] | None = None) -> list[Problem]:
        """Read every byte of the given runs, or of all, and say what is not as it was published.

        A run that is asked for by identity and is not there is a problem too.
        """
        if ids is None:
            return [found for key in entries(self.root / "runs") for found in problems(self.root, key)]
        return [found for run in ids for found in problems(self.root, key_of(run), run)]

    def discard(self, run: str) -> Path:
        """Move a run's folder away, so that only this run is computed again.

        Args:
            run: a full identity, or the `Problem.key` of a folder below `runs/`.

        Returns:
            where the folder lies now, below `discarded/`. It is never read again.

        Raises:
            StoreError: there is no such folder, or it cannot be moved.
        """
        known = entries(self.root / "runs")
        key = run if run in known else key_of(run)
        folder = self.root / "runs" / key
        if key not in known:
            raise StoreError(f"{self.root}: there is no run {run!r} to discard; `Store.ids()` lists the runs")
        with writing(self.root, f"discard run {key}"):
            make(self.root, "discarded")
            away = self.root / "discarded" / f"{key}-{uuid.uuid4().hex}"
            drop_compact(self.root)
            os.rename(folder, away)
            sync_folder(folder.parent)
        return away

    def compact(self) -> int:
        """Bring `compact/rows.parquet` up to date: all rows of all published runs in one file.

        The table is the same with it and without it; it is read fifty times as fast. A run goes in if its
        folder is whole and its rows and outcome have their sha256.

        Returns:
            how many runs the file holds now; 0 also where another process is writing it at this moment.

        Raises:
            StoreError: it cannot be written; the one before is still there.
        """
        return write_compact(self.root)

    def compact_if_worth(self, at_least: int = 200) -> int:
        """`compact`, where at least so many published runs are not in the file yet; else 0."""
        present = folders_of_runs(self.root)
        return self.compact() if len(present) - len(Compact(self.root).of(present)) >= at_least else 0

    def gc(self) -> Freed:
        """Remove what nobody needs: what killed writers left behind, checkpoints of runs that are published
        or that are broken, discarded runs, decoded images (they are made again). Then compact.

        Nothing that is published is touched, nor what a live process holds.

        Raises:
            StoreError: something cannot be removed.
        """
        return collect(self.root)

    def _place(self, run_id: str, aside: Path, folder: Path) -> None:
        while True:
            try:
                os.rename(aside, folder)
                return
            except OSError:
                if not os.path.lexists(folder):
                    raise
            if self.has(run_id):
                return
            other = self._identity(folder.name)
            if other is not None and other != run_id:
                raise StoreError(
                    f"{folder} holds run {other}, whose identity begins alike; use another store"
                )
            self.discard(folder.name)  # what lies there is broken: what has just been computed is not

    def _identity(self, key: str) -> str | None:
        try:
            return Manifest.read(self.root / "runs" / key).run
        except Unsound:
            return None

    def _folder(self, run_id: str) -> Path:
        return self.root / "runs" / key_of(run_id)
