"""The mean of one number a run, with an interval over runs: what a setting's seeds say together."""

import math
from collections.abc import Sequence

from tunescope.stats.finding import Effect
from tunescope.stats.intervals import mean_interval
from tunescope.stats.twogroup import FEWEST

UNBOUNDED = (-math.inf, math.inf)


def run_mean(
    name: str, values: Sequence[float], within: tuple[float, float] = UNBOUNDED, unit: str = ""
) -> Effect | None:
    """Mean over runs, Student's 95 % interval over runs; below three runs there is none.

    Args:
        name: what the number is.
        values: one for each run; those that are not finite are left out.
        within: the smallest and largest value that there can be; the interval ends there at the latest.
        unit: of the values.

    Returns:
        None where no run has a number.

    >>> found = run_mean("rho", [1.0, 2.0, 3.0])
    >>> found.value, round(found.low, 3), round(found.high, 3)
    (2.0, -0.484, 4.484)
    >>> run_mean("rho", [0.5, math.nan]), run_mean("rho", [])
    (Effect(name='rho', value=0.5, low=None, high=None, unit=''), None)
    """
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return None
    mean = math.fsum(known) / len(known)
    found = mean_interval(known) if len(known) >= FEWEST else None
    if found is None:
        return Effect(name, mean, unit=unit)
    return Effect(name, mean, max(found[0], within[0]), min(found[1], within[1]), unit)
