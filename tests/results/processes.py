"""Processes that race for runs and are killed. Started by test_store_processes.py; prints one JSON object."""

import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from runs_on_disk import identity_of, write_run

from tunescope.errors import StoreError
from tunescope.results.compact import SUMS, Compact
from tunescope.results.store import Store


def race(root: str, racers: int = 8) -> dict:
    """All racers try to claim one run at the same moment; those that get it publish it."""
    start_read, start_write = os.pipe()
    told_read, told_write = os.pipe()
    children = []
    for _ in range(racers):
        child = os.fork()
        if not child:
            os.close(start_write)
            os.read(start_read, 1)  # returns for all at once, when the parent closes its end
            store = Store(root)
            with store.claim(identity_of(0)) as mine:
                if mine:
                    time.sleep(0.05)
                    store.publish(identity_of(0), lambda folder: write_run(folder, 0))
            os.write(told_write, b"1" if mine else b"0")
            os._exit(0)
        children.append(child)
    os.close(start_write)
    codes = [os.waitpid(child, 0)[1] for child in children]
    return {"claims": sorted(os.read(told_read, racers).decode()), "codes": codes}


def kill(root: str, seconds: float = 3.0, runs: int = 400) -> dict:
    """Writers publish runs in a loop and are killed at random moments."""
    with TemporaryDirectory() as folder:
        write_run(Path(folder), 0)  # imports of a fifth of a second that every writer would repeat
    dice = random.Random(0)
    ends, kills = time.monotonic() + seconds, 0
    children = [_writer(root, runs, seed) for seed in range(2)]
    while time.monotonic() < ends:
        time.sleep(dice.uniform(0.0, 0.04))
        victim = dice.randrange(len(children))
        os.kill(children[victim], signal.SIGKILL)
        os.waitpid(children[victim], 0)
        kills += 1
        children[victim] = _writer(root, runs, kills + 2)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return {"kills": kills}


def _writer(root: str, runs: int, seed: int) -> int:
    child = os.fork()
    if child:
        return child
    store, order = Store(root), list(range(runs))
    random.Random(seed).shuffle(order)
    for number in order:
        with store.claim(identity_of(number)) as mine:
            if mine:
                store.publish(identity_of(number), lambda folder, number=number: write_run(folder, number))
    os._exit(0)


def checkpoint(root: str, seconds: float = 3.0) -> dict:
    """One process after the other keeps checkpoints of one run, its number in each file, and is killed."""
    dice = random.Random(0)
    ends, kills, lost, newest = time.monotonic() + seconds, 0, 0, 0
    unfinished = Store(root).unfinished(identity_of(0))
    while time.monotonic() < ends:
        child = os.fork()
        if not child:
            with Store(root).claim(identity_of(0)) as mine:
                number = newest if mine else sys.maxsize
                while True:
                    number += 1
                    unfinished.write(lambda folder, number=number: _numbered(folder, number))
        time.sleep(dice.uniform(0.01, 0.08))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
        folder = unfinished.read()
        if folder is None:
            lost += newest > 0  # before the first was whole there is none to lose
            continue
        numbers = {int(part.read_text()) for part in folder.glob("part-*")}
        lost += len(numbers) != 1 or max(numbers) < newest
        newest = max(numbers)
    return {"kills": kills, "lost": lost, "newest": newest}


def _numbered(folder: Path, number: int) -> None:
    for part in range(4):
        (folder / f"part-{part}").write_text(str(number))


def full(root: str, disk: str = "limit") -> dict:
    """A store on a disk of 1 MB that is full; where mounting is refused, no file may grow beyond a limit.

    Args:
        root: the store's folder, empty.
        disk: `tmpfs`, in a name space of its own so that nobody else sees the mount; or `limit`.
    """
    import numpy as np
    from safetensors.numpy import save_file

    from tunescope.results.row import Row, write_rows

    if disk == "tmpfs" and os.system(f"mount -t tmpfs -o size=1m tmpfs '{root}' 2>/dev/null"):
        disk = "limit"
    store, large = Store(root), np.random.default_rng(0).random(200_000)
    rows = [Row("transfer.loss", value) for value in large[:150_000]]
    store.publish(identity_of(0), lambda folder: write_run(folder, 0))
    assert store.compact() == 1
    store.publish(identity_of(9), lambda folder: write_run(folder, 9))
    unfinished = store.unfinished(identity_of(1))
    unfinished.write(lambda folder: _numbered(folder, 1))
    before = _contents(store.root)
    writers: dict[str, Callable[[Path], Any]] = {
        "python": lambda folder: (folder / "log.jsonl").write_bytes(bytes(2_000_000)),
        "parquet": lambda folder: write_rows(folder / "rows.parquet", identity_of(1), rows),
        "safetensors": lambda folder: save_file({"a": large}, folder / "arrays.safetensors"),
    }
    tasks = {
        f"publish {name}": partial(store.publish, identity_of(1), write) for name, write in writers.items()
    }
    tasks |= {f"checkpoint {name}": partial(unfinished.write, write) for name, write in writers.items()}
    tasks |= {
        "failure": lambda: store.fail(identity_of(1), "x" * 2_000_000),
        "compact": store.compact,  # no room for what would be twice as large
    }
    said = {}
    if disk == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
    for name, task in tasks.items():
        if name == "compact" and disk == "tmpfs":
            _fill(store.root / "tmp" / "filler")
        try:
            task()
        except StoreError as error:
            said[name] = str(error)
    (store.root / "tmp" / "filler").unlink(missing_ok=True)
    whole = _contents(store.root) == before and store.verify() == []
    compacted = [one.run for one in Compact(store.root).held.values()] == [identity_of(0)]
    return {"disk": disk, "said": said, "as before": whole and compacted, "runs": len(store.ids())}


def _contents(root: Path) -> dict[str, bytes]:
    """Every file of a store but the sums of the compact file, which may name a second one already."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != SUMS)
    return {str(path): path.read_bytes() for path in files}


def _fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as stream, suppress(OSError):
        for size in (65536, 4096):
            with suppress(OSError):
                while True:
                    stream.write(bytes(size))


VERBS = {"race": race, "kill": kill, "checkpoint": checkpoint, "full": full}

if __name__ == "__main__":
    print(json.dumps(VERBS[sys.argv[1]](*sys.argv[2:])))
