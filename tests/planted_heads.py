"""A table of heads made by hand: which heads matter and which move is planted."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tunescope.results.row import Row, rows_table
from tunescope.results.runs import runs_table
from tunescope.results.table import Table
from tunescope.study.study import Study

LAYERS, HEADS, EXAMPLES = 3, 4, 6
SHAPE = (LAYERS, HEADS)
STATIC, PLASTIC = (1, 2), (0, 3)  # of `full`: the most important and unmoved; the least important, most moved

STUDY = {
    "study": "planted",
    "model": "emoji-clip",
    "task": {"data": "emoji/openmoji", "label": "subgroup"},
    "runs": {
        "full": {"adapt": "full", "lr": 1e-4},
        "lora": {"adapt": {"kind": "lora", "rank": 8}, "lr": 1e-3},
    },
    "seeds": [0, 1, 2],
}


def study(**changes: object) -> Study:
    return Study.parse(STUDY | changes, "planted")


def importance(group: str, seed: int) -> np.ndarray:
    """In the order of the heads, but for the two planted ones of `full`."""
    values = np.arange(1.0, 1 + LAYERS * HEADS).reshape(SHAPE) / 100
    if group == "full":
        values[STATIC], values[PLASTIC] = 0.5, -0.5
    return values + seed / 1000


def update(group: str, seed: int) -> np.ndarray:
    """`full` moves the middle heads in turn, `lora` what matters to it, a tenth as far."""
    values = np.arange(1.0, 1 + LAYERS * HEADS).reshape(SHAPE) / 10
    if group == "full":
        values[STATIC], values[PLASTIC] = 0.01, 5.0
    return values * (1 + seed / 100) / (1 if group == "full" else 10)


def rows(group: str, seed: int, steps: tuple[int, ...] = (10, 20, 30)) -> list[Row]:
    found: list[Row] = []
    matters, moved = importance(group, seed).tolist(), update(group, seed).tolist()
    for layer, head in np.ndindex(SHAPE):
        worth, far = matters[layer][head], moved[layer][head]

        def read(metric: str, value: float, component: str, layer: int = layer, head: int = head) -> None:
            place = ("vision", layer, head, component, "val")
            found.append(Row(f"heads.{metric}", value, *place, std=0.01, n=EXAMPLES))

        for component in ("trained", "text"):
            read("importance", worth + 0.001, component)
            read("gate_gradient", abs(worth), component)
        read("importance_pre", worth, "trained")
        read("importance.base", worth, "text")
        for part, share in (("all", 1.0), ("q", 0.5), ("k", 0.5), ("v", 2.0), ("o", 1.0)):
            place = ("vision", layer, head, part)
            found.append(Row("heads.update", 3 * share * far, *place))
            found.append(Row("heads.update_relative", share * far, *place))
            for step in steps:
                found.append(Row("heads.update_relative", share * far * step / 40, *place, step=step))
    found += [Row("training.loss", 1.0, step=step) for step in range(1, 37)]
    found.append(Row("heads.agreement.gate_fisher_kendall", 0.5, tower="vision", component="trained"))
    found.append(Row("heads.importance", 9.0, "vision", 0, 0, "trained", "val", point=0.5))
    return found


Setting = tuple[str, Mapping[str, Any]]  # group, factors
SETTINGS: tuple[Setting, ...] = (("full", {"lr": 1e-4}), ("lora", {"lr": 1e-3}))


def table(settings: Sequence[Setting] = SETTINGS, seeds: Sequence[int] = (0, 1, 2)) -> Table:
    """Every setting at every seed; the first group moves as `full`, the others as `lora`."""
    records, factors, measured = [], [], []
    for index, (group, own) in enumerate(settings):
        for seed in seeds:
            values = dict(own) | {"seed": seed}
            told = " ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items())
            run = f"{index:02}{seed:02}" * 16
            record = {"run": run, "study": "planted", "group": group, "name": f"{group} {told}"}
            records.append(record | {"status": "done", "cause": None})
            factors.append(values)
            way = "full" if group == settings[0][0] else "lora"
            measured.append(rows_table(run, rows(way, seed)))
    return Table(pa.concat_tables(measured), runs_table(records, factors))


def shuffled(made: Table, seed: int = 0) -> Table:
    """The same rows in another order."""
    order = np.random.default_rng(seed).permutation(made.rows.num_rows)
    return Table(made.rows.take(pa.array(order)), made.runs)


def arrays(run: str) -> dict[str, np.ndarray]:
    """What every run published beside its rows."""
    ends = np.stack([np.zeros(SHAPE), np.ones(SHAPE)], -1)
    return {
        "heads.subset": np.array([0, 3, 5, 6, 8, 9]),
        "heads.interval.trained": ends,
        "heads.interval.text": ends + 1,
        "heads.interval.text.base": ends + 2,
        "heads.interval.importance_pre": ends + 3,
        "heads.interval.change.trained": ends + 4,
    }
