"""What a live monitor saw of the made-up study's runs, and what training said of convergence."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from report import synthetic_study as made_up

from tunescope.results.row import ROWS, Row, rows_table
from tunescope.results.table import Table
from tunescope.study.study import Study

LOOKS = (0, 15, 30, 45)
LAYERS, HEADS = 3, 2
QUANTITIES = {"attention.gini": 0.5, "attention.entropy": 3.0, "representation.cka": 1.0}


def table(study: Study, looks: Sequence[int] = LOOKS, layers: int = LAYERS, heads: int = HEADS) -> Table:
    """The made-up study's table, looked at while it was trained; every third run did not converge."""
    made = made_up.table(study)
    rows = [made.rows]
    for place, run in enumerate(made.runs.to_pylist()):
        if run["status"] == "done":
            rows.append(rows_table(run["run"], list(_seen(place, looks, layers, heads))))
    return Table(pa.concat_tables([part.select(ROWS.names) for part in rows]), made.runs)


def _seen(place: int, looks: Sequence[int], layers: int, heads: int) -> Iterator[Row]:
    random = np.random.default_rng(500 + place)
    for metric, base in QUANTITIES.items():
        for step in looks:
            for layer in range(layers):
                for head in (None,) if metric.startswith("rep") else range(heads):
                    value = base - 0.004 * step * random.random()
                    yield Row(metric, value, "vision", layer, head, split="probe", step=step)
    if place % 4:
        yield Row("training.converged", float(place % 3 > 0))
