"""A made-up study that varies a learning rate, a rank and a penalty's weight, measured inside and out."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from report import synthetic_study as made_up

from tunescope.results.row import Row, rows_table
from tunescope.results.table import RUNS, Table
from tunescope.study.study import Study

LAYERS, HEADS = 3, 2
BENCHMARKS = ("cifar100", "hf:food.v1#validation:label")
RUNS_OF = {
    "full": {"adapt": "full", "lr": [1e-5, 1e-4, 1e-3]},
    "lora": {"adapt": {"kind": "lora", "rank": [4, 8, 64]}, "lr": 1e-4},
    "floor": {
        "adapt": "full",
        "lr": 1e-4,
        "penalties": [{"kind": "entropy_floor", "weight": [0.01, 0.1, 1]}],
    },
}


def study(**changes: object) -> Study:
    return made_up.study(**{"runs": RUNS_OF, "seeds": [0, 1, 2]} | changes)


def table(made: Study) -> Table:
    """Identities are `run00`, `run01`, …; the base model depends on what is tuned on."""
    rows: list[pa.Table] = []
    runs: list[dict[str, Any]] = []
    for index, member in enumerate(made.members()):
        about = {"run": f"run{index:02}", "study": made.study, "group": member.group, "name": member.name}
        runs.append(about | {"status": "done", "cause": None} | dict(member.factors))
        rows.append(rows_table(about["run"], list(_measured(member.group, member.factors, index))))
    names = dict.fromkeys(name for run in runs for name in run)
    records = [{name: run.get(name) for name in names} for run in runs]
    made_of = pa.Table.from_pylist(records)
    return Table(pa.concat_tables(rows), made_of.cast(pa.schema([*RUNS, *list(made_of.schema)[len(RUNS) :]])))


def _measured(group: str, factors: dict[str, Any], index: int) -> Iterator[Row]:
    random = np.random.default_rng(index)
    reach = (float(factors["lr"]) / 1e-4) ** 0.4 * (1 - 0.3 * float(factors.get("weight", 0)))
    reach *= 0.2 if group == "lora" else 1.0
    first = 3.0 + (factors.get("data") == "b")
    for layer in range(LAYERS):
        place: dict[str, Any] = {"tower": "vision", "layer": layer, "split": "probe"}
        for head in range(HEADS):
            moved = -0.1 * reach * (1 + layer) * (1 if head else -0.4) + 0.01 * random.standard_normal()
            yield Row("attention.entropy.base", first + 0.1 * layer + 0.3 * head, head=head, **place)
            yield Row("attention.entropy.change", moved, head=head, **place)
        yield Row("attention.head_diversity.base", 0.4 + 0.1 * layer, **place)
        yield Row("attention.head_diversity.change", 0.05 * random.standard_normal(), **place)
        yield Row("attention.sink_mass.change", 0.0, **place)
        yield Row("representation.cka", float(np.exp(-0.3 * reach) - 0.01 * random.random()), **place)
    for head, accuracy in (("trained", 0.9), ("text", 0.3)):
        for split in ("val", "test", "shift:emoji/noto"):
            value = accuracy - 0.1 * (reach - 1) ** 2 + 0.01 * random.standard_normal()
            yield Row("transfer.acc1", value, split=split, component=head)
    for other, benchmark in enumerate(BENCHMARKS):
        at: dict[str, Any] = {"split": f"zero_shot:{benchmark}", "component": "text"}
        kept = float(np.exp(-0.5 * reach) - 0.05 * other + 0.02 * random.standard_normal())
        yield Row("transfer.acc1", 0.5 * kept, **at)
        yield Row("transfer.acc1.base", 0.5, **at)
        yield Row("transfer.acc1.retention", kept, **at)
        if group == "lora":
            yield Row("transfer.acc1.base_only", 0.45, **at)
