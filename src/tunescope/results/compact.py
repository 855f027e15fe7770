"""All rows of all published runs in one file: two thousand small ones take fifty times as long to read."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tunescope.results.durable import replace
from tunescope.results.layout import folders_of_runs, key_of, make
from tunescope.results.lock import held
from tunescope.results.manifest import Manifest, Unsound
from tunescope.results.row import ENCODED, TEXTS, encoded
from tunescope.results.whole_file import read_whole
from tunescope.results.writing import writing

SCHEMA = 2  # 1 had no column `point`
FILE = "rows.parquet"
LOCK = "rows.lock"
SUMS = "rows.sha256"  # of the file; while it is replaced, of the old one and the new one
INDEX = b"tunescope.index"
Span = tuple[int, int]  # first row, number of rows


class Held(NamedTuple):
    """One folder below `runs/` that the compact file has taken in.

    Args:
        key: the folder's name.
        modified: when a file was last added to or taken from the folder, in ns since the epoch: one that has
            changed since is read anew.
        run: the run's identity; empty where the folder holds no run but what was measured of a base model.
        status: as in the run's outcome.
        cause: as in the run's outcome.
        start: where its rows begin.
        length: how many they are.
    """

    key: str
    modified: int
    run: str = ""
    status: str = ""
    cause: str | None = None
    start: int = 0
    length: int = 0


class Compact:
    """The compact file of a store as it is now; empty where there is none that can be read.

    Its sha256 is checked before it is believed.

    Args:
        root: the store's folder.
    """

    def __init__(self, root: Path):
        self.held: dict[str, Held] = {}
        self._file: pq.ParquetFile | None = None
        try:
            content = read_whole(root / "compact" / FILE)  # at once: it may be replaced at any moment
            if _digest(content) not in (root / "compact" / SUMS).read_text(encoding="ascii").split():
                return
            file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=TEXTS)
            said = json.loads(file.metadata.metadata[INDEX])
            if said["schema"] == SCHEMA:
                self.held = {entry[0]: Held(*entry) for entry in said["held"]}
                self._file = file
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            pass  # it holds nothing that the runs' own files do not

    @cached_property
    def rows(self) -> pa.Table:
        """Its rows, of schema `ENCODED`, a run's together."""
        if self._file is None:
            return ENCODED.empty_table()
        return self._file.read().replace_schema_metadata(None).cast(ENCODED)

    def of(self, present: Mapping[str, int]) -> dict[str, Held]:
        """What it holds of the folders that are there and unchanged.

        Args:
            present: as `folders_of_runs` says it.
        """
        return {key: one for key, one in self.held.items() if present.get(key) == one.modified}


def write_compact(root: Path) -> int:
    """Bring the compact file of a store up to date.

    Runs that it holds stay as they are; of the others those are taken in whose folder is whole and whose
    rows and outcome have the sha256 that was published.

    Returns:
        how many runs it holds now; 0 also where another process is writing it at this moment.

    Raises:
        StoreError: it cannot be written; the one before is still there.
    """
    present = folders_of_runs(root)
    if not present:
        return 0
    with writing(root, "write the compact file"):
        make(root, "compact")
        with held(root / "compact" / LOCK) as mine:
            if not mine:
                return 0
            before = Compact(root)
            kept = before.of(present)
            fresh = [
                found
                for key in sorted(present.keys() - kept.keys())
                if (found := _take_in(root, key, present[key])) is not None
            ]
            if fresh or len(kept) < len(before.held):
                content, held_now = _content(before.rows, kept.values(), fresh)
                _put(root / "compact", content)
            else:
                held_now = list(kept.values())
    return sum(one.run != "" for one in held_now)


def drop_compact(root: Path) -> None:
    """Remove the compact file; what it held is read from the runs' own files again."""
    (root / "compact" / FILE).unlink(missing_ok=True)


def arranged(rows: pa.Table, spans: Iterable[Span]) -> pa.Table:
    """The rows of some spans, in their order.

    >>> arranged(pa.table({"a": [0, 1, 2, 3]}), [(3, 1), (0, 2)]).to_pydict()
    {'a': [3, 0, 1]}
    """
    starts, counts = np.array([*spans], np.int64).reshape(-1, 2).T
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    places = np.repeat(starts - (ends - counts), counts) + np.arange(total)
    if total == rows.num_rows and np.array_equal(places, np.arange(total)):
        return rows
    return rows.take(pa.array(places))


def _take_in(root: Path, key: str, modified: int) -> tuple[Held, pa.Table] | None:
    """What the table needs of one folder; None where it is not as it was published."""
    folder = root / "runs" / key
    try:
        manifest = Manifest.read(folder)
        if key_of(manifest.run) != key or any(manifest.check(folder, contents=False)):
            return None
        outcome = json.loads(_sound(folder, manifest, "outcome.json"))
        if outcome.get("kind") == "base":
            return Held(key, modified), ENCODED.empty_table()
        rows = ENCODED.empty_table()
        if FILE in manifest.files:
            file = pq.ParquetFile(pa.BufferReader(_sound(folder, manifest, FILE)))
            rows = encoded(file.read(use_threads=False))
        if {*rows.column("run").unique().to_pylist()} - {manifest.run}:
            return None
        found = Held(key, modified, manifest.run, outcome["status"], outcome.get("cause"), 0, rows.num_rows)
        return found, rows
    except (Unsound, OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException):
        return None  # `verify` says what is wrong with it


def _sound(folder: Path, manifest: Manifest, name: str) -> bytes:
    content = (folder / name).read_bytes()
    if _digest(content) != manifest.files[name][1]:
        raise Unsound(name, "has other contents than were published (sha256)")
    return content


def _content(
    rows: pa.Table, kept: Iterable[Held], fresh: list[tuple[Held, pa.Table]]
) -> tuple[bytes, list[Held]]:
    """The file, its runs in the order of their identities, and what it holds."""
    spans: dict[Held, Span] = {one: (one.start, one.length) for one in kept}
    start = rows.num_rows
    for one, _ in fresh:
        spans[one] = (start, one.length)
        start += one.length
    rows = pa.concat_tables([rows, *(own for _, own in fresh)]).unify_dictionaries().combine_chunks()
    order = sorted(spans, key=lambda one: one.key)
    ends = np.cumsum([one.length for one in order]).tolist()
    now = [
        Held(one.key, one.modified, one.run, one.status, one.cause, end - one.length, one.length)
        for one, end in zip(order, ends, strict=True)
    ]
    rows = arranged(rows, (spans[one] for one in order))
    index = json.dumps({"schema": SCHEMA, "held": now}, separators=(",", ":"))
    stream = pa.BufferOutputStream()
    pq.write_table(
        rows.replace_schema_metadata({INDEX: index.encode()}),
        stream,
        compression="zstd",
        use_dictionary=[*TEXTS, "layer", "head", "step", "point", "n"],  # pyright: ignore[reportArgumentType]
    )
    return stream.getvalue().to_pybytes(), now


def _put(folder: Path, content: bytes) -> None:
    """Put a new compact file in the place of the old one: at every moment one of the two sums is its own."""
    try:
        sums = [_digest((folder / FILE).read_bytes()), _digest(content)]
    except FileNotFoundError:
        sums = [_digest(content)]
    replace(folder / SUMS, "\n".join(sums).encode())
    replace(folder / FILE, content)


def _digest(content: bytes | pa.Buffer) -> str:
    return hashlib.sha256(content).hexdigest()
