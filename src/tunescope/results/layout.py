"""Where things lie below a store's root, and which version of the layout it is."""

import json
import os
import re
from pathlib import Path

from tunescope.errors import StoreError
from tunescope.results.durable import replace

SCHEMA = 2  # 1 had neither unfinished/ nor compact/ nor decoded/; its runs are those of 2
CACHE = "decoded"  # of decoded images; may be there before the store is
KEY = re.compile(r"[0-9a-f]{16}")  # a run's folder: the beginning of its identity
IDENTITY = re.compile(r"[0-9a-f]{64}")


def key_of(run_id: str) -> str:
    """The name of a run's folder.

    Raises:
        StoreError: what is given is no identity; so nothing that comes from data becomes a path.

    >>> key_of("0123456789abcdef" * 4)
    '0123456789abcdef'
    """
    if not IDENTITY.fullmatch(run_id):
        raise StoreError(f"{run_id!r} is no run's identity; expected 64 hexadecimal digits")
    return run_id[:16]


def entries(folder: Path) -> list[str]:
    """The names in a folder, in order; none where there is no folder."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def folders_of_runs(root: Path) -> dict[str, int]:
    """The folders below `runs/` by name, each with the time (ns) when a file last came or went."""
    try:
        with os.scandir(root / "runs") as found:
            return {
                entry.name: entry.stat(follow_symlinks=False).st_mtime_ns
                for entry in found
                if KEY.fullmatch(entry.name)
            }
    except FileNotFoundError:
        return {}


def is_store(root: Path) -> bool:
    """Whether there is a store at `root`.

    Raises:
        StoreError: there is one that this tunescope cannot read.
    """
    return _schema(root) is not None


def make(root: Path, *folders: str) -> None:
    """Make a store at `root` unless there is one, and the folders in it; one of an older schema is migrated.

    Raises:
        StoreError: something else lies there.
        OSError: the folder cannot be written.
    """
    schema = _schema(root)
    if schema is None:
        root.mkdir(parents=True, exist_ok=True)
        strange = [name for name in entries(root) if not name.startswith("store.json") and name != CACHE]
        if strange and not is_store(root):  # asked again: another process may just have made it
            raise StoreError(
                f"{root}: is not a store, and not empty (it holds {strange[0]!r}); "
                "give another folder for the results"
            )
    if schema != SCHEMA:
        replace(root / "store.json", json.dumps({"schema": SCHEMA}).encode() + b"\n")
    for name in folders:
        (root / name).mkdir(exist_ok=True)


def _schema(root: Path) -> int | None:
    path = root / "store.json"
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))["schema"]
        if type(schema) is not int or schema < 1:
            raise ValueError(f"schema {schema!r}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f'{path}: cannot be read ({error}); expected {{"schema": {SCHEMA}}}. '
            "Restore it, or give another folder for the results"
        ) from None
    if schema > SCHEMA:
        raise StoreError(
            f"{root}: this store has schema {schema}, written by a newer tunescope; this one reads "
            f"up to schema {SCHEMA}. Upgrade tunescope, or give another folder for the results"
        )
    return schema
