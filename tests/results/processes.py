"""Processes that race for runs and are killed. Started by test_store_processes.py; prints one JSON object."""

import json
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent))

from runs_on_disk import identity_of, write_run

from tunescope.errors import StoreError
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


def full(root: str, limit: int = 3000) -> dict:
    """No file may grow beyond `limit` bytes, as on a full disk, for each library that writes."""
    import numpy as np
    from safetensors.numpy import save_file

    from tunescope.results.row import Row, write_rows

    store, large = Store(root), np.random.default_rng(0).random(4000)
    rows = [Row("transfer.loss", value) for value in large]
    writers = {
        "python": lambda folder: (folder / "log.jsonl").write_bytes(bytes(10 * limit)),
        "parquet": lambda folder: write_rows(folder / "rows.parquet", identity_of(1), rows),
        "safetensors": lambda folder: save_file({"a": large}, folder / "arrays.safetensors"),
    }
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    said = {}
    for name, write in writers.items():
        try:
            store.publish(identity_of(1), write)
        except StoreError as error:
            said[name] = str(error)
    try:
        store.fail(identity_of(1), "x" * 10 * limit)
    except StoreError as error:
        said["failure"] = str(error)
    return said


if __name__ == "__main__":
    print(json.dumps({"race": race, "kill": kill, "full": full}[sys.argv[1]](sys.argv[2])))
