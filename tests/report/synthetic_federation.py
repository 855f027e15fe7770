"""A made-up federated study: two strategies over four clients, and the same tuning in one place."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from report import synthetic_study as made_up

from tunescope.results.row import Row, rows_table
from tunescope.results.table import RUNS, Table
from tunescope.study.study import Study

ROUNDS = 3
CLIENTS = ("a", "b", "c", "d")
CLASSES = ("cat", "dog", "fox")
LORA = {"kind": "lora", "rank": 8}
RUNS_OF = {
    "central": {"adapt": LORA, "lr": 1e-3, "federated": None, "train": {"epochs": 3}},
    "naive": {"adapt": LORA, "lr": 1e-3},
    "fedex": {"adapt": LORA, "lr": 1e-3, "federated": {"strategy": "fedex_lora"}},
}


def study(**changes: object) -> Study:
    federated = {"rounds": ROUNDS, "partition": {"kind": "dirichlet", "clients": len(CLIENTS)}}
    return made_up.study(**{"runs": RUNS_OF, "seeds": [0, 1, 2], "federated": federated} | changes)


def table(
    made: Study,
    clients: Sequence[str] = CLIENTS,
    classes: Sequence[str] = CLASSES,
    late: str = "",
) -> Table:
    """Identities are `run00`, `run01`, …; `late` is the client that is left out of every second round."""
    rows: list[pa.Table] = []
    runs: list[dict[str, Any]] = []
    for index, member in enumerate(made.members()):
        about = {"run": f"run{index:02}", "study": made.study, "group": member.group, "name": member.name}
        runs.append(about | {"status": "done", "cause": None} | dict(member.factors))
        seed = int(member.factors["seed"])
        own = list(_central(index))
        if member.spec.federated is not None:
            own = list(_federated(member.group, seed, clients, classes, late))
        rows.append(rows_table(about["run"], own))
    factors = [("lr", pa.float64()), ("seed", pa.int64())]
    return Table(pa.concat_tables(rows), pa.Table.from_pylist(runs, pa.schema([*RUNS, *factors])))


def held(seed: int, clients: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Examples by client and class, of every run of a seed; about a third of the cells are empty."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 90, (len(clients), len(classes)))
    return np.where(random.random(sizes.shape) < 0.35, 0, sizes)


def _central(index: int) -> Iterator[Row]:
    random = np.random.default_rng(index)
    yield Row("transfer.acc1", 0.8, split="test", component="trained")
    for step in range(1, 31):
        yield Row("training.loss", 2 - step / 30 + 0.1 * random.random(), step=step)
        if step % 10 == 0:
            yield Row("training.val_acc1", 0.6 + step / 150 + 0.02 * random.random(), split="val", step=step)
            yield Row("attention.entropy", 3 - step / 60, "vision", 0, 0, split="probe", step=step)


def _federated(
    group: str, seed: int, clients: Sequence[str], classes: Sequence[str], late: str
) -> Iterator[Row]:
    random = np.random.default_rng((seed, len(group)))
    exact = group == "fedex"
    yield Row("transfer.acc1", 0.7, split="test", component="trained")
    for row in zip(clients, held(seed, clients, classes), strict=True):
        yield Row("federated.examples", int(row[1].sum()), component=row[0])
        for name, n in zip(classes, row[1], strict=True):
            if n:
                yield Row("federated.held", int(n), component=row[0], split=f"class:{name}")
    for number in range(1, ROUNDS + 1):
        present = [client for client in clients if client != late or number % 2]
        score = 0.5 + 0.08 * number + 0.02 * random.random()
        yield Row("training.val_acc1", score, split="val", step=number)
        place: dict[str, Any] = {"tower": "vision", "layer": 0, "head": 0, "split": "probe", "step": number}
        yield Row("attention.entropy", 3 - 0.1 * number, **place)
        yield Row("transfer.acc1", score / 2, split="zero_shot:x", component="text", step=number)
        yield Row("federated.clients", len(present), step=number)
        yield Row("federated.dropped", len(clients) - len(present), step=number)
        yield Row("federated.bytes_down", 2e6 * (1 + exact * number), step=number)
        yield Row("federated.bytes_up", 1e6, step=number)
        yield Row("federated.traffic", 0.01 * (1 + exact * number), step=number)
        yield Row("federated.drift", 0.1 * random.random(), step=number)
        yield Row("federated.aggregation_error", 0.0 if exact else 0.1 / number, step=number)
        for place_of, client in enumerate(present):
            at: dict[str, Any] = {"component": client, "step": number}
            yield Row("federated.loss", 2 / number + 0.1 * place_of + 0.1 * random.random(), **at)
            yield Row("federated.cka", 1 - 0.1 * random.random(), **at)
            seen: dict[str, Any] = place | at
            yield Row("attention.entropy.client", 3 - 0.2 * random.random(), **seen)
            own = {"component": f"text@{client}", "step": number}
            yield Row("transfer.acc1.client", 0.3 + 0.1 * place_of, split="val", **own)
    for place_of, client in enumerate(clients):
        yield Row("federated.personal", 0.5 + 0.05 * place_of + 0.05 * random.random(), component=client)
        yield Row("federated.global", 0.6 + 0.05 * random.random(), component=client)
