"""What every head comes to over the seeds of a setting: means with intervals over runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from tunescope.results.runs import Factor
from tunescope.stats.finding import Effect
from tunescope.stats.headwise import RunHeads
from tunescope.stats.intervals import LEVEL
from tunescope.stats.run_mean import run_mean
from tunescope.stats.twogroup import FEWEST

Floats = NDArray[np.float64]

PROJECTIONS = ("q", "k", "v", "o")


@dataclass(frozen=True)
class OverSeeds:
    """One quantity of every head, over runs.

    Args:
        mean: [layers, heads], over the runs that have a number for the head.
        low: lower end of Student's 95 % interval over runs; not a number below three of them.
        high: its upper end.
        runs: [layers, heads], how many runs have a number.
    """

    mean: Floats
    low: Floats
    high: Floats
    runs: NDArray[np.int64]


@dataclass(frozen=True)
class SettingHeads:
    """The heads of a setting: one tower, under one head on top of the features, over its seeds.

    Args:
        setting: group and factors without the seed.
        group: of the study.
        factors: those that all of its runs share.
        tower: `vision` or `text`.
        component: under which head the losses were read.
        names: the runs, in the table's order.
        values: by quantity, as in `RunHeads.values`.
    """

    setting: str
    group: str
    factors: Mapping[str, Factor]
    tower: str
    component: str
    names: tuple[str, ...]
    values: Mapping[str, OverSeeds]


def aggregate(runs: Sequence[RunHeads]) -> list[SettingHeads]:
    """Every setting's heads over its seeds, in the order of the runs.

    >>> def run(seed, value):
    ...     values = {"update": np.array([[value]])}
    ...     return RunHeads("", "full", "", "full", {"seed": seed}, "vision", "", values, {})
    >>> found = aggregate([run(0, 1.0), run(1, 2.0), run(2, 3.0)])[0].values["update"]
    >>> found.mean.tolist(), found.low.round(3).tolist(), found.runs.tolist()
    ([[2.0]], [[-0.484]], [[3]])
    """
    settled: list[SettingHeads] = []
    for key in dict.fromkeys((run.setting, run.tower, run.component) for run in runs):
        mine = [run for run in runs if (run.setting, run.tower, run.component) == key]
        quantities = dict.fromkeys(quantity for run in mine for quantity in run.values)
        values = {
            quantity: over_seeds([run.values[quantity] for run in mine if quantity in run.values])
            for quantity in quantities
        }
        first = mine[0]
        shared = {name: value for name, value in first.factors.items() if name != "seed"}
        names = tuple(run.name for run in mine)
        settled.append(SettingHeads(key[0], first.group, shared, key[1], key[2], names, values))
    return settled


def over_seeds(values: Sequence[Floats]) -> OverSeeds:
    """Mean over runs and its interval, head by head.

    Args:
        values: [layers, heads] of each run; where one is smaller than another, or not a number, that run has
            none for the head.
    """
    shape = tuple(np.max([each.shape for each in values], 0))
    stacked = np.full((len(values), *shape), np.nan)
    for own, each in zip(stacked, values, strict=True):
        own[: each.shape[0], : each.shape[1]] = each
    known = np.isfinite(stacked)
    n = known.sum(0)
    mean = np.full(n.shape, np.nan)
    np.divide(np.where(known, stacked, 0.0).sum(0), n, out=mean, where=n > 0)
    squares = (np.where(known, stacked - mean, 0.0) ** 2).sum(0)
    half = np.full(n.shape, np.nan)
    enough = n >= FEWEST
    df = n[enough] - 1
    half[enough] = stdtrit(df, (1 + LEVEL) / 2) * np.sqrt(squares[enough] / df / n[enough])
    return OverSeeds(mean, mean - half, mean + half, n.astype(np.int64))


def by_layer(runs: Sequence[RunHeads], quantity: str) -> list[Effect | None]:
    """A quantity by layer: mean over heads in each run, then over runs, with an interval over runs.

    Args:
        runs: of one setting, tower and component.
        quantity: as in `RunHeads.values`.

    Returns:
        one for each layer; None where no run has a number there.
    """
    found = [run.values[quantity] for run in runs if quantity in run.values]
    return [
        run_mean(quantity, [over_heads(run[layer]) for run in found if layer < len(run)])
        for layer in range(max((len(run) for run in found), default=0))
    ]


def by_component(runs: Sequence[RunHeads], quantity: str) -> dict[str, Effect]:
    """A quantity by projection (q, k, v, o): mean over all heads in each run, then over runs.

    Args:
        runs: of one setting, tower and component.
        quantity: such as `update_relative`; the projections' own are `update_relative.q` and so on.

    Returns:
        the projections that the runs have, in this order.
    """
    found = {
        part: run_mean(quantity, [over_heads(run.values[f"{quantity}.{part}"]) for run in having])
        for part in PROJECTIONS
        if (having := [run for run in runs if f"{quantity}.{part}" in run.values])
    }
    return {part: effect for part, effect in found.items() if effect is not None}


def over_heads(values: Floats) -> float:
    """The mean over heads that have a number; not a number where none has.

    >>> over_heads(np.array([[1.0, np.nan], [2.0, 6.0]]))
    3.0
    """
    known = values[np.isfinite(values)]
    return math.fsum(known.tolist()) / known.size if known.size else math.nan
