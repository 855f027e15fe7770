"""Spearman's ρ of two numbers of the same runs: over all of them, or within their groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunescope.report import formats
from tunescope.report.frames import Run
from tunescope.stats import partial
from tunescope.stats.intervals import constant, spearman_interval
from tunescope.stats.twogroup import FEWEST


@dataclass(frozen=True)
class Rho:
    """A correlation over runs: ρ, its 95 % interval where there is one, and how many runs it is of."""

    value: float
    low: float | None
    high: float | None
    runs: int

    @property
    def words(self) -> str:
        """ρ with its interval.

        >>> Rho(-0.836, -0.93, -0.62, 21).words, Rho(0.5, None, None, 3).words
        ('−0.84 (−0.93 to −0.62)', '0.5')
        """
        ends = () if self.low is None or self.high is None else (self.low, self.high)
        value, *interval = (formats.number(round(number, 2)) for number in (self.value, *ends))
        return f"{value} ({' to '.join(interval)})" if interval else value


def run_rho(
    runs: Sequence[Run], x: Mapping[str, float], y: Mapping[str, float], *, within: bool = False
) -> Rho | None:
    """ρ of the runs that have both numbers, with Bonett and Wright's interval; None below three runs.

    A run that stands in two groups counts once. Within groups, runs are ranked among those of their own
    group, ranks are centred there, and a group of one run says nothing.

    Args:
        runs: that are done.
        x: identity of a run → its number.
        y: the same.
        within: what groups differ in stays out of it.

    Returns:
        None too where a number is the same in every run.

    >>> runs = [Run(name, "full", name, "done", "", {}) for name in "abcd"]
    >>> x, y = dict(zip("abcd", (1.0, 2.0, 3.0, 4.0))), dict(zip("abcd", (1.0, 3.0, 2.0, 4.0)))
    >>> found = run_rho(runs, x, y)
    >>> found.value, found.runs
    (0.8, 4)
    """
    once = {run.id: run for run in reversed(runs) if run.id in x and run.id in y}
    known = list(once.values())[::-1]
    if within:
        groups = [run.group for run in known]
        known = [run for run in known if groups.count(run.group) > 1]
    if len(known) < FEWEST:
        return None
    first, second = (np.array([numbers[run.id] for run in known]) for numbers in (x, y))
    if constant(first) or constant(second):
        return None
    names = list(dict.fromkeys(run.group for run in known))
    strata = np.array([names.index(run.group) if within else 0 for run in known], float)
    held = partial.Held(first, second, strata, strata)
    value = partial.rho(held)
    if value is None or held.effective < FEWEST:
        return None
    low, high = spearman_interval(value, held.effective) or (None, None)
    return Rho(value, low, high, len(known))
