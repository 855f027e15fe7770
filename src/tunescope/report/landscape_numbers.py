"""Numbers of the landscape, run by run: which run, under which head, read on what."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tunescope.report import frames
from tunescope.report.frames import Run, Where

if TYPE_CHECKING:
    from tunescope.results.table import Table

STAR = (  # the path of a mark that no group has: the best α
    "M0,-1L.25,-.35L.95,-.31L.4,.13L.59,.81L0,.42L-.59,.81L-.4,.13L-.95,-.31L-.25,-.35Z"
)
MEAN = "shift:mean"  # the split of what is said of all shifts together
SHIFT = "shift:"
KINDS = {
    "average": "average case, adaptive",
    "linf": "worst case, adaptive ℓ∞",
    "l2": "worst case, adaptive ℓ2",
    "average_plain": "average case",
    "linf_plain": "worst case, ℓ∞",
    "l2_plain": "worst case, ℓ2",
    "hessian_top": "largest eigenvalue of the Hessian",
    "hessian_trace": "trace of the Hessian",
    "hessian_top_adaptive": "largest eigenvalue of the adaptive Hessian",
    "hessian_trace_adaptive": "trace of the adaptive Hessian",
}

Place = tuple[Any, ...]  # the values of the columns that were asked for


@dataclass(frozen=True)
class Number:
    """One number of one run.

    Args:
        run: that is done.
        part: the head that it is read under, in words. A study tunes one tower, so that goes without saying.
        place: the values of the columns that were asked for.
        value: finite.
    """

    run: Run
    part: str
    place: Place
    value: float


def numbers(table: "Table", metric: str, by: Sequence[str] = (), where: Where | None = None) -> list[Number]:
    """Every run's numbers of `landscape.<metric>`, by run; a run that stands in two groups has them twice."""
    return of_metric(table, f"landscape.{metric}", by, where)


def of_metric(
    table: "Table", metric: str, by: Sequence[str] = (), where: Where | None = None
) -> list[Number]:
    """As `numbers`, of a metric by its full name."""
    found: dict[str, list[dict[str, Any]]] = {}
    for record in frames.read(table, metric, where, by=("run", "component", *by)):
        found.setdefault(record["run"], []).append(record)
    return [
        Number(
            run,
            f"{record['component']} head",
            tuple(record[column] for column in by),
            record["value"],
        )
        for run in frames.done(table)
        for record in found.get(run.id, ())
    ]


def means(found: Iterable[Number], key: Callable[[Number], Place]) -> dict[Place, float]:
    """The mean of the numbers of each key, in order of first appearance.

    >>> run = Run("a", "lora", "lora seed=0", "done", "", {"seed": 0})
    >>> found = [Number(run, "trained head", ("val",), value) for value in (1.0, 2.0)]
    >>> means(found, lambda number: number.place)
    {('val',): 1.5}
    """
    return {place: frames.mean(values) for place, values in together(found, key).items()}


def together(found: Iterable[Number], key: Callable[[Number], Place]) -> dict[Place, list[float]]:
    """The numbers of each key, in order of first appearance."""
    cells: dict[Place, list[float]] = {}
    for number in found:
        cells.setdefault(key(number), []).append(number.value)
    return cells


def setting(number: Number) -> Place:
    """The setting and the part that a number is of, and its place."""
    return (number.run.setting, number.part, *number.place)


def with_mean(found: Sequence[Number]) -> list[Number]:
    """Numbers whose first column is a split, and those of the mean over a run's shifts, first of the shifts.

    >>> run = Run("a", "lora", "lora seed=0", "done", "", {"seed": 0})
    >>> given = [Number(run, "trained head", (f"shift:{x}", 0.5), v) for x, v in (("a", 1.0), ("b", 2.0))]
    >>> [(number.place, number.value) for number in with_mean(given)]
    [(('shift:mean', 0.5), 1.5), (('shift:a', 0.5), 1.0), (('shift:b', 0.5), 2.0)]
    """
    shifted = [number for number in found if number.place[0].startswith(SHIFT)]
    if len({number.place[0] for number in shifted}) < 2 or any(n.place[0] == MEAN for n in shifted):
        return list(found)
    cells: dict[Place, list[Number]] = {}
    for number in shifted:
        key = (number.run.name, number.part, *number.place[1:])
        cells.setdefault(key, []).append(number)
    mean = [
        replace(own[0], place=(MEAN, *own[0].place[1:]), value=frames.mean([n.value for n in own]))
        for own in cells.values()
    ]
    return [*mean, *found]


def read_on(split: str) -> str:
    """What a split is, in words.

    >>> [read_on(split) for split in ("test", "shift:mean", "shift:emoji/noto", "zero_shot:emoji/noto:name")]
    ['test', 'mean of the shifts', 'emoji/noto', 'zero-shot, emoji/noto:name']
    """
    if split == MEAN:
        return "mean of the shifts"
    return split.removeprefix(SHIFT).replace("zero_shot:", "zero-shot, ")


def settings(table: "Table", most: int) -> dict[str, str]:
    """The first settings of the study that have a run that is done, each with its group."""
    return dict(list({run.setting: run.group for run in frames.done(table)}.items())[:most])
