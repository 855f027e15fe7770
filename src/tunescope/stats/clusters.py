"""Rows of runs: many layers or heads of each, which share its luck, so that the runs alone are replicates."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tunescope.stats.finding import Factor, GroupSummary
from tunescope.stats.intervals import Floats, mean_interval

Place = tuple[Factor, ...]
PLACES = ("layer", "head")


@dataclass(frozen=True)
class Clusters:
    """Rows of several runs, or what pairs of runs differ by, row by row.

    Args:
        values: one for each row, of shape (rows,).
        runs: for each row, the code 0, 1, … of its run, of shape (rows,).
        places: for each row, its layer, and its head where it has one.
    """

    values: Floats
    runs: Floats
    places: tuple[Place, ...]

    @property
    def n(self) -> int:
        """How many runs there are."""
        return int(self.runs.max()) + 1

    @property
    def unit(self) -> str:
        """What a row is."""
        return "head" if len(self.places[0]) > 1 else "layer"

    @property
    def complete(self) -> bool:
        """Whether each run has a row at each place."""
        return len(self.values) == self.n * len(set(self.places))

    @property
    def sums(self) -> Floats:
        """Sum of each run's rows, of shape (n,)."""
        return np.bincount(self.runs.astype(int), self.values).astype(np.float64)

    @property
    def sizes(self) -> Floats:
        """How many rows each run has, of shape (n,)."""
        return np.bincount(self.runs.astype(int)).astype(float)


def clusters(group: GroupSummary) -> Clusters:
    """The rows of a group of runs.

    >>> rows, runs = ({"layer": 0}, {"layer": 1}) * 2, ("r", "r", "s", "s")
    >>> found = clusters(GroupSummary("a", 4, 2.5, None, None, (1.0, 2.0, 3.0, 4.0), rows, runs, {}))
    >>> found.n, found.sums.tolist(), found.places[:2]
    (2, [3.0, 7.0], ((0,), (1,)))
    """
    known = {run: float(code) for code, run in enumerate(dict.fromkeys(group.runs))}
    return Clusters(
        np.array(group.values), np.array([known[run] for run in group.runs]), tuple(_places(group))
    )


def differences(first: GroupSummary, second: GroupSummary, order: Sequence[int]) -> Clusters | None:
    """What each run of the first group has less of than its partner, at the places that both have.

    Args:
        first: rows of the first group.
        second: rows of the second.
        order: for each run of the first group, as `at_runs` orders them, where its partner stands in the
            second.

    Returns:
        None where partners have no place in common.
    """
    left, right = _by_run(first), _by_run(second)
    others = list(right.values())
    values: list[float] = []
    runs: list[float] = []
    places: list[Place] = []
    for code, (own, at) in enumerate(zip(left.values(), order, strict=True)):
        shared = [place for place in own if place in others[at]]
        if not shared:
            return None
        values += [own[place] - others[at][place] for place in shared]
        runs += [float(code)] * len(shared)
        places += shared
    return Clusters(np.array(values), np.array(runs), tuple(places))


def at_runs(group: GroupSummary) -> GroupSummary:
    """The group with one value for each run, the mean over its rows, and without layers and heads."""
    found = _by_run(group)
    factors = dict(zip(group.runs, group.factors, strict=True))
    values = tuple(float(np.mean(list(rows.values()))) for rows in found.values())
    low, high = (mean_interval(values) if values else None) or (None, None)
    return replace(
        group,
        n=len(values),
        mean=float(np.mean(values)) if values else None,
        low=low,
        high=high,
        values=values,
        factors=tuple({k: v for k, v in factors[run].items() if k not in PLACES} for run in found),
        runs=tuple(found),
    )


def _places(group: GroupSummary) -> list[Place]:
    return [tuple(factors[name] for name in PLACES if name in factors) for factors in group.factors]


def _by_run(group: GroupSummary) -> dict[str, dict[Place, float]]:
    found: defaultdict[str, dict[Place, float]] = defaultdict(dict)
    for run, place, value in zip(group.runs, _places(group), group.values, strict=True):
        found[run][place] = value
    return dict(found)
