"""Head measurements for the made-up study: 3 layers × 4 heads, under a trained and under a text head."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from report import synthetic_study as made_up

from tunescope.results.row import ROWS, Row, rows_table
from tunescope.results.table import Table
from tunescope.study.study import Study

LAYERS, HEADS = 3, 4
PROJECTIONS = {"q": 1.4, "k": 1.2, "v": 0.7, "o": 0.8}
PROXIES = ("gate_gradient", "gate_gradient_signed", "gate_fisher")
STEPS, SHARES = (15, 30, 45), (0.0, 0.5, 1.0)


def table(study: Study, layers: int = LAYERS, heads: int = HEADS, **changes: tuple[str, ...]) -> Table:
    """The made-up study's table with the rows of the probes `heads`, `updates` and `pruning`."""
    made = made_up.table(study, **changes)
    rows = [made.rows]
    for index, (member, run) in enumerate(zip(study.members(), made.runs.to_pylist(), strict=True)):
        if run["status"] == "done":
            moved = 0.0 if member.group == "probe" else 0.02 * (member.spec.lr / 1e-4) ** 0.4
            rows.append(rows_table(run["run"], list(measured(index, moved, (layers, heads)))))
    return Table(pa.concat_tables([part.select(ROWS.names) for part in rows]), made.runs)


def measured(index: int, moved: float, shape: tuple[int, int]) -> Iterator[Row]:
    random = np.random.default_rng(index)
    shared = np.random.default_rng(99).gamma(1.2, 0.02, shape)  # the same heads matter in every run
    at: dict[str, Any]
    for component, reach in (("trained", 1.0), ("text", 0.5)):
        before = reach * shared + 0.003 * random.standard_normal(shape)
        after = before * (1 + 0.3 * random.standard_normal(shape))
        for (layer, head), value in np.ndenumerate(after):
            at = {"tower": "vision", "layer": layer, "head": head, "component": component, "split": "val"}
            name = "importance_pre" if component == "trained" else "importance.base"
            yield Row("heads.importance", float(value), n=64, std=0.2, **at)
            yield Row(f"heads.{name}", float(before[layer, head]), n=64, std=0.2, **at)
        at = {"tower": "vision", "component": component}
        for proxy in PROXIES:
            yield Row(f"heads.agreement.{proxy}_kendall", float(random.uniform(0.4, 0.8)), split="val", **at)
            yield Row(f"heads.agreement.{proxy}_top", float(random.uniform(0.4, 0.8)), split="val", **at)
        for point in SHARES:
            for ranking in ("importance", "random"):
                accuracy = float(0.4 * (1 - point) + 0.01 * random.random())
                yield Row(f"pruning.{ranking}.acc1", accuracy, split="test", point=point, **at)
    update = moved * random.uniform(0.5, 1.5, shape)
    for (layer, head), value in np.ndenumerate(update):
        at = {"tower": "vision", "layer": layer, "head": head}
        for component, part in {"all": 1.0, **PROJECTIONS}.items():
            yield Row("heads.update_relative", float(value * part), component=component, **at)
        for step in STEPS:
            yield Row("heads.update_relative", float(value * step / 45), component="all", step=step, **at)
