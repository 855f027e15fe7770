"""The attention heads of every run, as arrays by layer and head, from the rows of the one table."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from tunescope.results.runs import Factor, factors_of
from tunescope.results.table import Table
from tunescope.stats.head_rows import Cells, Floats, head_rows, placed, shape_of
from tunescope.stats.intervals import LEVEL
from tunescope.stats.setting import setting

READ = ("trained", "text")  # heads on top of the features, under which a loss is read
WHOLE = ("all", "")  # components that stand for a head as a whole
AFTER, CHANGE = "importance", "importance.change"
BEFORE = ("importance_pre", "importance.base")  # importance before tuning, under a trained and a text head


@dataclass(frozen=True)
class RunHeads:
    """Every head of one tower of one run, under one head on top of the features.

    Args:
        run: the run's identity.
        group: its group in the study.
        name: its name in the study.
        setting: group and factors without the seed: runs of one setting are replicates.
        factors: what varies between runs (`lr`, `seed`, `data`, …).
        tower: `vision` or `text`.
        component: under which head the losses were read, `trained` or `text`; empty where none were.
        values: by quantity, [layers, heads], not a number where the table has no value. A quantity is a
            metric without its `heads.`: `importance`, `importance.change` (under a trained head against
            `importance_pre`), `update_relative`; what is measured of a part of the head has it behind a
            further dot: `update_relative.q`, `plasticity.attention`, `plasticity.base.attention`.
        intervals: by quantity, [layers, heads, 2], for means over examples: Student's 95 % interval over the
            run's own examples, value ± t·std/√n. It speaks of other examples, not of other seeds.
    """

    run: str
    group: str
    name: str
    setting: str
    factors: Mapping[str, Factor]
    tower: str
    component: str
    values: Mapping[str, Floats]
    intervals: Mapping[str, Floats]

    @property
    def shape(self) -> tuple[int, int]:
        """Layers and heads; a layer with fewer heads has no numbers for the rest."""
        layers, heads = next(iter(self.values.values())).shape
        return layers, heads

    @property
    def seed(self) -> Factor | None:
        """What the run's order of examples and initial values derive from; None where the table is silent."""
        return self.factors.get("seed")

    @property
    def before(self) -> str | None:
        """The quantity that is importance before tuning under the same head; None where it is not known."""
        return next((name for name in BEFORE if name in self.values), None)


def headwise(table: Table) -> list[RunHeads]:
    """The heads of every run that is done, in the order of the runs, then by tower, `trained` before `text`.

    Rows of training steps and of points on curves stay out. Where a quantity was measured on several splits,
    the first by name counts. A run's quantities share one shape, that of the largest layer and head of the
    tower: an attention pooling head is one more layer, of which importance is not known.

    Raises:
        TableError: a layer or a head that no model has.

    >>> import pyarrow as pa
    >>> from tunescope.results.row import Row, rows_table
    >>> from tunescope.results.runs import RUNS
    >>> runs = {name: ["done" if name == "status" else "a"] for name in RUNS.names}
    >>> rows = [Row("heads.importance", 0.5, "vision", 0, 1, "trained", "val")]
    >>> rows += [Row("heads.update", 2.0, "vision", 0, head, "all") for head in (0, 1)]
    >>> found = headwise(Table(rows_table("a", rows), pa.table(runs)))[0]
    >>> found.component, found.values["importance"].tolist(), found.values["update"].tolist()
    ('trained', [[nan, 0.5]], [[2.0, 2.0]])
    """
    found: defaultdict[str, defaultdict[str, Parts]] = defaultdict(lambda: defaultdict(dict))
    for (run, tower, component, quantity), rows in head_rows(table, _KEYS, "step IS NULL").items():
        found[str(run)][str(tower)].setdefault(str(component), {})[str(quantity)] = rows
    heads: list[RunHeads] = []
    for run in table.runs.to_pylist():
        if run["status"] != "done":
            continue
        factors = factors_of(run)
        where = (run["run"], run["group"], run["name"], setting(run["group"], factors), factors)
        for tower, parts in sorted(found[run["run"]].items()):
            shape = shape_of([rows for own in parts.values() for rows in own.values()], run["name"])
            shared = _named(parts, [part for part in parts if part not in READ])
            for component in [part for part in READ if part in parts] or [""]:
                own = _named(parts, [component]) if component else {}
                heads.append(RunHeads(*where, tower, component, *_arrays(own | shared, shape)))
    return heads


Parts = dict[str, dict[str, Cells]]  # component → quantity → its rows
_KEYS = ("run", "tower", "component", "quantity")


def _named(parts: Parts, components: list[str]) -> dict[str, Cells]:
    """The rows of some components by quantity; a projection's name stands behind its quantity's."""
    named: dict[str, Cells] = {}
    for component in components:
        end = "" if component in (*READ, *WHOLE) else f".{component}"
        named |= {f"{quantity}{end}": rows for quantity, rows in parts[component].items()}
    return named


def _arrays(cells: dict[str, Cells], shape: tuple[int, int]) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Values, and the intervals of those that are means over examples."""
    values: dict[str, Floats] = {}
    intervals: dict[str, Floats] = {}
    for quantity, rows in sorted(cells.items()):
        value, std, n = rows[:, 2:].T
        values[quantity] = placed(rows, value, shape)
        known = np.isfinite(std) & (n > 1)
        if known.any():
            half = np.full(len(rows), np.nan)
            half[known] = stdtrit(n[known] - 1, (1 + LEVEL) / 2) * std[known] / np.sqrt(n[known])
            intervals[quantity] = placed(rows, np.stack([value - half, value + half], 1), shape)
    if AFTER in values and BEFORE[0] in values:  # which the table has as the base's only under a text head
        values.setdefault(CHANGE, values[AFTER] - values[BEFORE[0]])
    return values, intervals
