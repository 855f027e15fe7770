"""The store of runs: published whole or not at all, claimed by one process at a time."""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tunescope.errors import StoreError
from tunescope.results.durable import replace, sync_folder, write_synced
from tunescope.results.layout import entries, is_store, key_of, make
from tunescope.results.lock import held
from tunescope.results.manifest import MANIFEST, Manifest, Unsound
from tunescope.results.problem import Problem, problems
from tunescope.results.published import Published


@dataclass(frozen=True)
class Freed:
    """What `Store.gc` took away: orphaned folders, stale claims, and their bytes."""

    folders: int
    claims: int
    bytes: int


class Store:
    """Runs by identity, below one folder that is made at the first write.

    Args:
        root: the store's folder.

    Raises:
        StoreError: the store was written by a newer tunescope, or its `store.json` cannot be read.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
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
        Publishing a run that is there already changes nothing: the first stays.

        Args:
            run_id: the run's identity, 64 hexadecimal digits.
            write: writes the run's files into the empty folder that it is given.

        Raises:
            StoreError: the disk is full, may not be written, or `write` left something that is no plain file.
        """
        folder = self._folder(run_id)
        with self._writing(f"publish run {run_id[:16]}"):
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
            with self._writing(f"claim run {run_id[:16]}"):
                make(self.root, "claims")
                mine = stack.enter_context(held(path))
            yield mine and not self.has(run_id)

    def fail(self, run_id: str, cause: str, kind: str = "error") -> None:
        """Remember why a run could not be carried out; it is tried again all the same.

        Args:
            run_id: the run.
            cause: what happened, for people.
            kind: the sort of thing it was, for programs.
        """
        path = self._failure_path(run_id)
        record = {
            "run": run_id,
            "kind": kind,
            "cause": cause,
            "at": datetime.now(UTC).isoformat("T", "seconds"),
        }
        with self._writing(f"record the failure of run {run_id[:16]}"):
            make(self.root, "failures")
            replace(path, json.dumps(record, indent=1).encode())

    def failure(self, run_id: str) -> dict[str, Any] | None:
        """What `fail` remembered of the run (`run`, `kind`, `cause`, `at`), if anything."""
        try:
            record = json.loads(self._failure_path(run_id).read_text(encoding="utf-8"))
            return record if record["run"] == run_id else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            cause = f"its failure record cannot be read ({error!r})"
            return {"run": run_id, "kind": "unknown", "cause": cause, "at": ""}

    def failures(self) -> dict[str, dict[str, Any]]:
        """Every remembered failure by the run's identity, as `failure` says it; unreadable ones stay out."""
        found: dict[str, dict[str, Any]] = {}
        for name in entries(self.root / "failures"):
            try:
                record = json.loads((self.root / "failures" / name).read_text(encoding="utf-8"))
                found[record["run"]] = record
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return dict(sorted(found.items()))

    def clear_failure(self, run_id: str) -> None:
        """Forget why a run could not be carried out."""
        with self._writing(f"forget the failure of run {run_id[:16]}"):
            self._failure_path(run_id).unlink(missing_ok=True)

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
        with self._writing(f"discard run {key}"):
            make(self.root, "discarded")
            away = self.root / "discarded" / f"{key}-{uuid.uuid4().hex}"
            os.rename(folder, away)
            sync_folder(folder.parent)
        return away

    def gc(self) -> Freed:
        """Remove what killed writers left behind, and nothing that a live one holds or that is published.

        Raises:
            StoreError: something cannot be removed.
        """
        folders = claims = size = 0
        with self._writing("collect garbage"):
            for name in sorted({Path(entry).stem for entry in entries(self.root / "tmp")}):
                with held(self.root / "tmp" / f"{name}.lock") as mine:
                    folder = self.root / "tmp" / name
                    if mine and folder.is_dir() and not folder.is_symlink():
                        folders, size = folders + 1, size + _size(folder)
                        shutil.rmtree(folder)
            for entry in entries(self.root / "claims"):
                if entry.endswith(".lock"):
                    with held(self.root / "claims" / entry) as mine:  # letting go removes the file
                        claims += mine
        return Freed(folders, claims, size)

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

    def _failure_path(self, run_id: str) -> Path:
        return self.root / "failures" / f"{key_of(run_id)}.json"

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, SafetensorError) as error:
            number = getattr(error, "errno", None)
            reason = os.strerror(number) if number else str(error)
            raise StoreError(
                f"{self.root}: cannot {what}: {reason}; nothing was changed. Free some space or mend the "
                "folder's permissions, then run again: what is published stays"
            ) from error
        except Unsound as error:
            raise StoreError(f"{self.root}: cannot {what}: {error}; nothing was published") from None


def _size(folder: Path) -> int:
    return sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(folder) for name in names)
