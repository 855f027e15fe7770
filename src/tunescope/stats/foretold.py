"""How well a number foretells another in groups of runs not seen before: each group is left out in turn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tunescope.stats.intervals import CONSTANT, Floats, constant

FEWEST_SEEN = 3  # runs that a rule is learnt from


@dataclass(frozen=True)
class Foretold:
    """Each run's y as the runs of the other groups foretell it.

    Args:
        values: of shape (n,).
        skill: 1 − Σ(y − ŷ)²/Σ(y − ȳ)², ȳ the mean of the runs of the other groups; None where that is always
            right. 1: always right; 0: no better than ȳ; below 0: worse.
        ordered: Spearman's ρ of ŷ with y, over all runs; None where one of them does not vary.
        error: mean |y − ŷ|, in the unit of y.
    """

    values: Floats
    skill: float | None
    ordered: float | None
    error: float


def by_the_others(x: Floats, y: Floats, groups: Sequence[str]) -> Foretold | None:
    """Foretell each group's y from its x, by the runs of all other groups.

    Args:
        x: the number that may predict, of shape (n,).
        y: the number that may be predicted, of shape (n,).
        groups: each run's group.

    Returns:
        None with one group, or where fewer than three runs are left.
    """
    names = np.array(groups)
    guesses, means = np.empty(len(y)), np.empty(len(y))
    for name in np.unique(names):
        left_out = names == name
        seen = ~left_out
        if np.count_nonzero(seen) < FEWEST_SEEN:
            return None
        guesses[left_out] = by_ranks(x[seen], y[seen], x[left_out])
        means[left_out] = y[seen].mean()
    missed, of_mean = float(((y - guesses) ** 2).sum()), float(((y - means) ** 2).sum())
    u, v = _centred_ranks(guesses), _centred_ranks(y)
    varies = not (constant(guesses) or constant(y))
    return Foretold(
        values=guesses,
        skill=1 - missed / of_mean if of_mean > CONSTANT**2 * max(1.0, float(y @ y)) else None,
        ordered=float(u @ v / np.sqrt(u @ u * (v @ v))) if varies else None,
        error=float(np.abs(y - guesses).mean()),
    )


def by_ranks(x: Floats, y: Floats, new: Floats) -> Floats:
    """What y is at new places x, by least squares on ranks: R(y) = (n + 1)/2 + b·(R(x) − (n + 1)/2).

    b is Spearman's ρ where nothing is tied, ρ times the ratio of the ranks' spreads else.
    A new x gets a rank between those of its neighbours, outermost the first or the last; the rank of y that
    the line gives there is read back as a y between its neighbours. The relation need not be straight, and
    nothing beyond what was seen is ever foretold.

    Args:
        x: of shape (n,), at least two.
        y: of shape (n,).
        new: of shape (m,).

    Source: Iman & Conover (1979), The use of the rank transform in regression, Technometrics 21.

    >>> by_ranks(np.array([1.0, 10.0, 100.0]), np.array([0.9, 0.5, 0.1]), np.array([10.0, 5.5, 1e6])).round(3)
    array([0.5, 0.7, 0.1])
    """
    middle = (len(x) + 1) / 2
    u, v = _centred_ranks(x), _centred_ranks(y)
    slope = 0.0 if constant(x) else float(u @ v / (u @ u))
    ranks = middle + slope * (np.interp(new, *_places(x)) - middle)
    values, at = _places(y)
    return np.interp(ranks, at, values)


def _places(values: Floats) -> tuple[Floats, Floats]:
    """The different values in order, and the mean rank of each."""
    different, times = np.unique(values, return_counts=True)
    return different, times.cumsum() - (times - 1) / 2


def _centred_ranks(values: Floats) -> Floats:
    return stats.rankdata(values) - (len(values) + 1) / 2
