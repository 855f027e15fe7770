"""A setting's heads in a few numbers: who matters, who moves, and whether they are the same ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunescope.results.runs import Factor
from tunescope.stats.finding import Effect
from tunescope.stats.head_cases import Cases, cases
from tunescope.stats.head_relation import Relation, over_runs, relation
from tunescope.stats.head_seeds import by_component, by_layer, over_heads
from tunescope.stats.headwise import AFTER, RunHeads
from tunescope.stats.run_mean import run_mean

UPDATE = "update_relative"


@dataclass(frozen=True)
class RunSide:
    """One run: its importance against its update.

    Args:
        name: the run's name in the study.
        seed: None where the table does not say it.
        update: mean relative update of its heads; not a number where none was measured.
        relation: importance with relative update; None where one of the two was not measured.
        cases: the heads that go against the rule; None likewise.
    """

    name: str
    seed: Factor | None
    update: float
    relation: Relation | None
    cases: Cases | None


@dataclass(frozen=True)
class Side:
    """One setting: one tower, under one head on top of the features.

    Args:
        setting: group and factors without the seed.
        importance: the quantity that importance is read from: before tuning where it was measured, else
            `importance` after it; None where there is neither.
        runs: each of its runs.
        relation: importance with relative update: means over runs; None where one was not measured.
        update: relative update, mean over heads, then over runs.
        layers: the same by layer.
        projections: the same by q, k, v, o.
    """

    setting: str
    importance: str | None
    runs: tuple[RunSide, ...]
    relation: Relation | None
    update: Effect | None
    layers: tuple[Effect | None, ...]
    projections: Mapping[str, Effect]

    @property
    def seeds(self) -> tuple[Factor, ...]:
        """The seeds that its runs are known by."""
        return tuple(run.seed for run in self.runs if run.seed is not None)

    @property
    def counts(self) -> dict[str, Effect]:
        """Mean numbers of important-but-static and plastic-but-unimportant heads of a run, and of both."""
        found = [run.cases for run in self.runs if run.cases is not None]
        numbers = {
            "important_but_static": [float(len(each.important_but_static)) for each in found],
            "plastic_but_unimportant": [float(len(each.plastic_but_unimportant)) for each in found],
            "counter_examples": [float(each.counter_examples) for each in found],
        }
        means = {name: run_mean(name, values, (0.0, np.inf)) for name, values in numbers.items()}
        return {name: mean for name, mean in means.items() if mean is not None}

    @property
    def expected(self) -> float | None:
        """How many heads of a run would go against the rule by chance, mean over runs."""
        found = [run.cases.expected_counter_examples for run in self.runs if run.cases is not None]
        return sum(found) / len(found) if found else None


def side(runs: Sequence[RunHeads]) -> Side:
    """One setting in a few numbers.

    Args:
        runs: its runs, at least one, of one tower and one component.
    """
    importance = next((name for run in runs for name in (run.before, AFTER) if name in run.values), None)
    each = tuple(_run(run, importance) for run in runs)
    relations = [run.relation for run in each if run.relation is not None]
    return Side(
        setting=runs[0].setting,
        importance=importance,
        runs=each,
        relation=over_runs(relations) if relations else None,
        update=run_mean(UPDATE, [run.update for run in each], (0.0, np.inf)),
        layers=tuple(by_layer(runs, UPDATE)),
        projections=by_component(runs, UPDATE),
    )


def _run(run: RunHeads, importance: str | None) -> RunSide:
    update = run.values.get(UPDATE)
    matters = None if importance is None else run.values.get(importance)
    mean = float("nan") if update is None else over_heads(update)
    if update is None or matters is None:
        return RunSide(run.name, run.seed, mean, None, None)
    return RunSide(run.name, run.seed, mean, relation(matters, update), cases(matters, update))
