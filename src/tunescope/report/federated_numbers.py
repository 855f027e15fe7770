"""Numbers of federated runs: of which run, which client, which round."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunescope.report import frames
from tunescope.report.columns import column
from tunescope.report.frames import Run, Where
from tunescope.results.metric import declared
from tunescope.stats.run_mean import UNBOUNDED, run_mean

if TYPE_CHECKING:
    from tunescope.results.table import Table

PREFIX = "federated."
CLIENTS = "federated.clients"  # every federated run says it of every round
EXAMPLES = "federated.examples"
EPSILON = "federated.epsilon"
OF_CLIENT = ".client"  # the end of what is measured of each client's own model
PART = "@"  # between a part of the model and the client, where a component is both

Curve = dict[int, float]  # by round


@dataclass(frozen=True)
class Series:
    """One number of a run, round by round.

    Args:
        run: that is done.
        client: whose it is; empty where it is of all together.
        curve: by round, ascending.
    """

    run: Run
    client: str
    curve: Curve


def in_rounds(table: "Table") -> set[str]:
    """The identities of the runs that had rounds: what they have by step, they have by round."""
    if CLIENTS not in table.metrics():
        return set()
    return {record["run"] for record in frames.read(table, CLIENTS, by=("run", "step"))}


def federated(table: "Table") -> list[Run]:
    """The runs that are done and had rounds."""
    there = in_rounds(table)
    return [run for run in frames.done(table) if run.id in there]


def series(
    table: "Table",
    runs: Sequence[Run],
    metric: str,
    where: Where | None = None,
    *,
    by_client: bool = False,
) -> list[Series]:
    """A metric of these runs by round: of each client, or the mean of whatever has that step."""
    by = ("run", "component", "step") if by_client else ("run", "step")
    found: dict[str, dict[str, dict[int, list[float]]]] = {}
    for record in frames.read(table, metric, where, by=by):
        client = client_of(metric, record["component"]) if by_client else ""
        if record["step"] is not None and client is not None:
            rounds = found.setdefault(record["run"], {}).setdefault(client, {})
            rounds.setdefault(record["step"], []).append(record["value"])
    return [
        Series(run, client, {number: frames.mean(rounds[number]) for number in sorted(rounds)})
        for run in runs
        for client, rounds in sorted(found.get(run.id, {}).items())
    ]


def client_of(metric: str, component: str | None) -> str | None:
    """Whose number a row is: its component, or what stands behind the part where the metric has parts.

    >>> client_of("federated.loss", "noto"), client_of("transfer.acc1.client", "text@a@b")
    ('noto', 'a@b')
    """
    known = declared().get(metric.removesuffix(OF_CLIENT)) if metric.endswith(OF_CLIENT) else None
    if component is None or known is None or "component" not in known.dims:
        return component
    return component.partition(PART)[2] or None


def by_client(table: "Table", metric: str) -> dict[str, dict[str, float]]:
    """Identity of a run → client → its number after all rounds."""
    found: dict[str, dict[str, float]] = {}
    if metric in table.metrics():
        for record in frames.read(table, metric, by=("run", "component")):
            if record["component"] is not None:
                found.setdefault(record["run"], {})[record["component"]] = record["value"]
    return found


def largest(table: "Table", runs: Sequence[Run], most: int) -> tuple[list[str], int]:
    """The clients with the most examples, in the order of their names; and how many there are in all."""
    held = by_client(table, EXAMPLES)
    sizes: dict[str, float] = {}
    for run in runs:
        for client, size in held.get(run.id, {}).items():
            sizes[client] = max(size, sizes.get(client, 0.0))
    first = sorted(sizes, key=lambda client: (-sizes[client], client))[:most]
    return sorted(first), len(sizes)


def names(runs: Sequence[Run]) -> dict[str, str]:
    """What each setting is called: its group, where that has no other."""
    settings = {run.setting: run.group for run in runs}
    groups = list(settings.values())
    return {name: group if groups.count(group) == 1 else name for name, group in settings.items()}


def together(found: Sequence[Series], most: int) -> dict[str, list[Series]]:
    """The series of runs that differ in the seed alone, by name, of the first so many settings."""
    called = names([one.run for one in found])
    cells: dict[str, list[Series]] = {}
    for one in found:
        cells.setdefault(called[one.run.setting], []).append(one)
    return dict(list(cells.items())[:most])


def summary(curves: Sequence[Curve], within: tuple[float, float] = UNBOUNDED) -> dict[str, list[Any]]:
    """By round: the mean over runs and Student's 95 % interval, from three runs on.

    >>> summary([{1: 0.5, 2: 1.0}, {1: 1.5}])
    {'round': [1, 2], 'mean': [1.0, 1.0], 'low': [None, None], 'high': [None, None]}
    """
    rounds = sorted({number for curve in curves for number in curve})
    every = [run_mean("", [curve[n] for curve in curves if n in curve], within) for n in rounds]
    known = [one for one in every if one is not None]
    nothing = float("nan")
    return {
        "round": rounds,
        "mean": column(one.value for one in known),
        "low": column(nothing if one.low is None else one.low for one in known),
        "high": column(nothing if one.high is None else one.high for one in known),
    }
