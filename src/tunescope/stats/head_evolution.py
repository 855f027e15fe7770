"""How the update of the heads grows while a model is tuned: early against late."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunescope.results.runs import Factor, factors_of
from tunescope.results.table import Table
from tunescope.stats.finding import Effect
from tunescope.stats.head_relation import Relation, over_runs, relation
from tunescope.stats.head_rows import Cells, Floats, head_rows, placed, shape_of
from tunescope.stats.head_seeds import PROJECTIONS, over_heads
from tunescope.stats.headwise import WHOLE
from tunescope.stats.run_mean import run_mean
from tunescope.stats.setting import setting

QUANTITY = "update_relative"
EARLY = 3  # the first 1/3 of the steps


@dataclass(frozen=True)
class Evolution:
    """The heads' relative updates ‖Wₜ − W₀‖ / ‖W₀‖ at the steps where a live monitor looked.

    Args:
        run: the run's identity.
        group: its group in the study.
        name: its name in the study.
        setting: group and factors without the seed.
        factors: what varies between runs.
        tower: of the heads.
        steps: where the monitor looked, ascending, from 1.
        length: number of steps of the tuning.
        values: [looks, layers, heads].
        final: [layers, heads], of the model as it was published; of the last look where something followed
            the tuning (WiSE-FT, a soup) and the published weights are others.
        projections: [looks] by q, k, v, o: the mean over all heads.
    """

    run: str
    group: str
    name: str
    setting: str
    factors: Mapping[str, Factor]
    tower: str
    steps: tuple[int, ...]
    length: int
    values: Floats
    final: Floats
    projections: Mapping[str, Floats]

    @property
    def by_layer(self) -> Floats:
        """[looks, layers]: the mean over the heads of each layer."""
        return np.array([[over_heads(layer) for layer in look] for look in self.values])


@dataclass(frozen=True)
class Early:
    """How much of the final update is there after the first third of the steps, and in the same heads.

    Args:
        step: the last step within the first third at which the monitor looked.
        share: sum of the heads' updates there over the sum of their final ones. Updates are distances from
            the start, which may shrink again: more than 1 is possible.
        relation: rank correlation and top-k overlap of the early update with the final one; see `Relation`
            for what its intervals mean.
        runs: how many runs it speaks of.
    """

    step: int
    share: Effect
    relation: Relation
    runs: int = 1


def evolutions(table: Table) -> list[Evolution]:
    """The evolution of every run that is done and was looked at while it was tuned, in the order of the runs.

    >>> import pyarrow as pa
    >>> from tunescope.results.row import Row, rows_table
    >>> from tunescope.results.runs import RUNS
    >>> runs = {name: ["done" if name == "status" else "a"] for name in RUNS.names}
    >>> rows = [Row("heads.update_relative", 0.1 * step, "vision", 0, 0, "all", step=step) for step in (2, 6)]
    >>> found = evolutions(Table(rows_table("a", rows), pa.table(runs)))[0]
    >>> found.steps, found.length, round(early(found).share.value, 4)
    ((2, 6), 6, 0.3333)
    """
    looks: defaultdict[str, defaultdict[str, dict[tuple[str, int], Cells]]]
    looks = defaultdict(lambda: defaultdict(dict))
    chosen = f"quantity = '{QUANTITY}' AND step"
    for (run, tower, component, step), rows in head_rows(table, _KEYS, f"{chosen} > 0").items():
        looks[str(run)][str(tower)][str(component), int(step)] = rows
    ends = {
        (run, tower): rows
        for (run, tower, component), rows in head_rows(table, _KEYS[:3], f"{chosen} IS NULL").items()
        if component in WHOLE
    }
    lengths = _lengths(table)
    found: list[Evolution] = []
    for run in table.runs.to_pylist():
        if run["status"] != "done":
            continue
        factors = factors_of(run)
        where = (run["run"], run["group"], run["name"], setting(run["group"], factors), factors)
        length, published = lengths.get(run["run"], (0, True))
        for tower, parts in sorted(looks[run["run"]].items()):
            steps = sorted({step for component, step in parts if component in WHOLE})
            if not steps:
                continue
            end = ends.get((run["run"], tower)) if published else None
            shape = shape_of([*parts.values(), *([] if end is None else [end])], run["name"])
            whole = [_whole(parts, step, shape) for step in steps]
            final = whole[-1] if end is None else placed(end, end[:, 2], shape)
            projections = {
                part: np.array([_mean(parts.get((part, step))) for step in steps])
                for part in PROJECTIONS
                if any(component == part for component, _ in parts)
            }
            found.append(Evolution(*where, tower, tuple(steps), length, np.stack(whole), final, projections))
    return found


def early(evolution: Evolution, tops: Sequence[int] | None = None) -> Early | None:
    """What of the final update is there after the first third of the steps.

    Args:
        evolution: of one run.
        tops: sizes of the top that is compared; see `relation`.

    Returns:
        None where the monitor did not look within the first third, or nothing has moved in the end.
    """
    within = [at for at, step in enumerate(evolution.steps) if step * EARLY <= evolution.length]
    if not within:
        return None
    first = evolution.values[within[-1]]
    known = np.isfinite(first) & np.isfinite(evolution.final)
    whole = float(evolution.final[known].sum())
    if whole == 0:
        return None
    return Early(
        step=evolution.steps[within[-1]],
        share=Effect("share of the final update", float(first[known].sum()) / whole),
        relation=relation(first, evolution.final, tops),
    )


def early_over_runs(found: Sequence[Early]) -> Early | None:
    """The same over the runs of one setting, with intervals over runs from three on; None without a run."""
    share = run_mean("mean share of the final update", [each.share.value for each in found], (0.0, np.inf))
    if share is None:
        return None
    last = max(each.step for each in found)
    return Early(last, share, over_runs([each.relation for each in found]), len(found))


_KEYS = ("run", "tower", "component", "step")


def _lengths(table: Table) -> dict[str, tuple[int, bool]]:
    """How many steps each run took, and whether it published the weights after the last one."""
    found = table.sql(
        "SELECT run, max(step) AS length, coalesce(bool_or(starts_with(metric, 'after.')), false) AS after "
        "FROM rows GROUP BY run"
    )
    return {row["run"]: (row["length"] or 0, not row["after"]) for row in found.to_pylist()}


def _whole(parts: Mapping[tuple[str, int], Cells], step: int, shape: tuple[int, int]) -> Floats:
    rows = np.concatenate([parts[component, step] for component in WHOLE if (component, step) in parts])
    return placed(rows, rows[:, 2], shape)


def _mean(rows: Cells | None) -> float:
    return float("nan") if rows is None else over_heads(rows[:, 2])
