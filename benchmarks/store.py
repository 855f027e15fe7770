"""The store at size: gathering a table with and without the compact file, and planning a large study.

Run it with `python benchmarks/store.py`. The ways take turns, so that a busy machine is fair to both. Prints
medians of the rounds, and checks that the tables are equal.
"""

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from tunescope.engine.plan import plan
from tunescope.results.row import Row, write_rows
from tunescope.results.store import Store
from tunescope.results.table import Table
from tunescope.study.run import RunSpec
from tunescope.study.study import Member, Study, load_study

SPEC = RunSpec.parse({"model": "tiny", "task": {"data": "emoji/noto"}, "adapt": "full", "lr": 1e-3}, "")
METRICS = 10
STUDY = """
study: large
model: emoji-clip
task: {data: emoji/openmoji, label: subgroup}
transfer: {zero_shot: ["emoji/noto:name"], shifts: [emoji/noto, emoji/twemoji]}
probes: [attention, transfer]
seeds: [0, 1, 2, 3, 4]
runs:
  lora: {adapt: {kind: lora, rank: 8}, penalties: [{kind: entropy_floor, weight: 0.1}], lr: LRS}
"""


def publish(store: Store, run: str, rows: list[Row]) -> None:
    """A run as the engine leaves it, but for its arrays."""

    def write(folder: Path) -> None:
        write_rows(folder / "rows.parquet", run, rows)
        (folder / "spec.json").write_text(json.dumps(SPEC.model_dump(mode="json")))
        (folder / "outcome.json").write_text('{"status": "done"}')
        (folder / "weights.safetensors").write_bytes(bytes(64))
        (folder / "log.jsonl").write_text("")

    store.publish(run, write)


def made_up(count: int, seed: int) -> list[Row]:
    """Rows of every shape that a run has: by head, by split, by step."""
    values = np.random.default_rng(seed).random(count).tolist()
    return [
        Row("training.loss", value, step=i)
        if i % 5 == 0
        else Row(f"attention.m{i % METRICS}", value, "vision", i % 12, i % 4, split="probe", std=value, n=100)
        for i, value in enumerate(values)
    ]


def seconds(store: Store, members: list[tuple[str, Member]]) -> tuple[float, Table]:
    """How long it takes from the folder to one number for each run."""
    started = time.perf_counter()
    table = Table.gather(store, members, "benchmark")
    found = table.per_run("attention.m3", {"split": "probe"})
    taken = time.perf_counter() - started
    assert len(found) == len(members)
    return taken, table


def gathering(root: Path, runs: int, rows: int, rounds: int) -> None:
    """Gather a study of a store, in turns with and without its compact file."""
    store = Store(root)
    ids = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(runs)]
    for number, run in enumerate(ids):
        publish(store, run, made_up(rows, number))
    members = [
        (run, Member(group=f"g{i % 4}", factors={"lr": i / 1e5, "rank": i % 8, "seed": i}, spec=SPEC))
        for i, run in enumerate(ids)
    ]
    started = time.perf_counter()
    assert store.compact() == runs
    path = root / "compact" / "rows.parquet"
    content = path.read_bytes()
    size, took = len(content) / 1e6, time.perf_counter() - started
    print(f"compacting {runs} runs × {rows} rows: {took:.2f} s, {size:.1f} MB")
    seconds(store, members)  # what is imported and opened once is not measured
    found: dict[str, list[float]] = {"single files": [], "compact file": []}
    for _ in range(rounds):
        path.unlink()
        taken, single = seconds(store, members)
        found["single files"].append(taken)
        path.write_bytes(content)
        taken, compact = seconds(store, members)
        found["compact file"].append(taken)
        assert single.rows.equals(compact.rows)
        assert single.runs.equals(compact.runs)
    for way, took in found.items():
        print(f"gather and per_run, {way}: median {statistics.median(took):.3f} s, best {min(took):.3f} s")


def planning(root: Path, study: Study, rounds: int) -> None:
    """Plan a study of thousands of runs against an empty store, a full one, and a compacted one."""
    runs = plan(study, Store(root / "none"))
    full = Store(root / "full")
    for run in runs:
        publish(full, run.id, [Row("training.loss", 1.0)])
    compacted = Store(root / "full")
    for name, store in (("empty", Store(root / "none")), ("full", full), ("compacted", compacted)):
        if name == "compacted":
            store.compact()
        took = []
        for _ in range(rounds):
            started = time.perf_counter()
            plan(study, store)
            took.append(time.perf_counter() - started)
        print(f"plan of {len(runs)} runs, store {name}: median {statistics.median(took):.2f} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=150)
    parser.add_argument("--planned", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        gathering(Path(name) / "store", arguments.runs, arguments.rows, arguments.rounds)
        rates = [1e-6 * (1 + i) for i in range(arguments.planned // 5)]
        (Path(name) / "large.yaml").write_text(STUDY.replace("LRS", json.dumps(rates)))
        planning(Path(name), load_study(Path(name) / "large.yaml"), arguments.rounds)


if __name__ == "__main__":
    main()
