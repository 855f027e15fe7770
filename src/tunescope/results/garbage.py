"""What in a store nobody needs any more, and how it is known that nobody does."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tunescope.results.compact import LOCK, write_compact
from tunescope.results.durable import ASIDE, remove
from tunescope.results.layout import CACHE, KEY, entries, is_store, key_of
from tunescope.results.lock import held
from tunescope.results.manifest import Manifest, Unsound
from tunescope.results.unfinished import MEASURED, numbers_in, whole
from tunescope.results.writing import writing

YOUNG = 600.0  # seconds: a file that grew this recently is being written


@dataclass(frozen=True)
class Freed:
    """What `Store.gc` took away.

    Args:
        folders: runs that a killed process had half written.
        claims: locks of processes that are gone.
        bytes: of everything that was removed.
        checkpoints: runs whose checkpoints went: published in the meantime, or none of them whole.
        discarded: broken runs that had been moved away.
        decoded: files of decoded images.
        leftovers: single files and older checkpoints that killed writers had left.
        compacted: runs that the compact file holds now.
    """

    folders: int = 0
    claims: int = 0
    bytes: int = 0
    checkpoints: int = 0
    discarded: int = 0
    decoded: int = 0
    leftovers: int = 0
    compacted: int = 0


def collect(root: Path) -> Freed:
    """Remove what nobody needs from the store at `root`, and nothing that a live process holds; then compact.

    Raises:
        StoreError: something cannot be removed, or the compact file cannot be written.
    """
    if not is_store(root):
        return Freed()
    with writing(root, "collect garbage"), held(root / "gc.lock", wait=True):
        folders = [*_unlocked(root / "tmp")]
        leftovers = [*_leftovers(root)]
        checkpoints, older = _checkpoints(root)
        discarded = [remove(root / "discarded" / name) for name in entries(root / "discarded")]
        decoded = [remove(path) for path in _unused(root / CACHE)]
        claims = sum(_stale(root / "claims" / name) for name in entries(root / "claims"))
    freed = (folders, leftovers, checkpoints, older, discarded, decoded)
    return Freed(
        folders=len(folders),
        claims=claims,
        bytes=sum(map(sum, freed)),
        checkpoints=len(checkpoints),
        discarded=len(discarded),
        decoded=len(decoded),
        leftovers=len(leftovers) + len(older),
        compacted=write_compact(root),
    )


def _unlocked(folder: Path) -> Iterator[int]:
    """Remove every folder whose lock `<name>.lock` nobody holds, and those locks; the bytes of each."""
    for name in sorted({Path(entry).stem for entry in entries(folder)}):
        with held(folder / f"{name}.lock") as mine:
            found = folder / name
            if mine and found.is_dir() and not found.is_symlink():
                yield remove(found)


def _unused(cache: Path) -> list[Path]:
    """What lies in the cache, but for files that somebody may be writing: those have no lock.

    A file that runs have mapped may go: its bytes stay until the last of them lets go.
    """
    old = time.time() - YOUNG
    found = [cache / name for name in entries(cache)]
    return [path for path in found if not (ASIDE.fullmatch(path.name) and _modified(path) > old)]


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # it has got into place meanwhile
        return 0.0


def _leftovers(root: Path) -> Iterator[int]:
    """Remove files that a killed process had written beside the one to be replaced; the bytes of each."""
    for folder in (root, root / "failures", root / "compact"):
        for name in entries(folder):
            path = folder / name
            if ASIDE.fullmatch(name) and path.is_file() and not path.is_symlink():
                with held(path) as mine:  # its writer holds it until it is in place; letting go removes it
                    if mine:
                        yield path.stat().st_size
    if (root / "compact" / LOCK).exists():
        _stale(root / "compact" / LOCK)


def _checkpoints(root: Path) -> tuple[list[int], list[int]]:
    """Remove the checkpoints of runs that need none, and what is not the newest whole one of the others."""
    runs, older = [], []
    for key in entries(root / "unfinished"):
        if not KEY.fullmatch(key):
            continue
        (root / "claims").mkdir(exist_ok=True)
        with held(root / "claims" / f"{key}.lock") as mine:
            folder = root / "unfinished" / key
            if not mine or not folder.exists():
                continue
            numbers = sorted(numbers_in(folder), reverse=True)
            newest = next((n for n in numbers if (whole(folder / str(n)) or "")[:16] == key), None)
            if newest is None or _published(root, key):
                runs.append(remove(folder))
            else:
                kept = (str(newest), MEASURED)
                older += [remove(folder / name) for name in entries(folder) if name not in kept]
    return runs, older


def _published(root: Path, key: str) -> bool:
    try:
        folder = root / "runs" / key
        manifest = Manifest.read(folder)
        return key_of(manifest.run) == key and not any(manifest.check(folder, contents=False))
    except Unsound:
        return False


def _stale(lock: Path) -> bool:
    if not lock.name.endswith(".lock"):
        return False
    with held(lock) as mine:  # letting go removes the file
        return mine
