"""Which runs of two groups are partners: those with the same seed, which share their luck."""

from collections import Counter

from tunescope.stats.finding import GroupSummary
from tunescope.stats.words import listed


def pairing(first: GroupSummary, second: GroupSummary) -> tuple[str, list[int]] | None:
    """By which factors each run of the first group has one partner in the second, and where that stands.

    By the seed alone, or by every shared factor that varies; None where a run has no partner, or several.

    >>> from dataclasses import replace
    >>> a = GroupSummary("a", 2, 0.5, None, None, (0.0, 1.0), ({"seed": 0}, {"seed": 1}), ("x", "y"), {})
    >>> pairing(a, replace(a, factors=({"seed": 1}, {"seed": 0})))
    ('seed', [1, 0])
    """
    runs = (*first.factors, *second.factors)
    shared = set.intersection(*({name for name, value in run.items() if value is not None} for run in runs))
    if "seed" not in shared:
        return None
    varying = sorted(name for name in shared if len({run[name] for run in runs}) > 1)
    for names in (["seed"], varying):
        left = [tuple(run[name] for name in names) for run in first.factors]
        right = [tuple(run[name] for name in names) for run in second.factors]
        if Counter(left) == Counter(right) and len(set(left)) == len(left):
            return listed(names), [right.index(key) for key in left]
    return None


def unused(first: GroupSummary, second: GroupSummary) -> tuple[str, ...]:
    """What to know of a test of independent groups whose runs have partners: it throws them away."""
    order = pairing(first, second)
    if order is None:
        return ()
    return (f"the runs are partners by {order[0]}, which this test does not use; without 'test' they are",)
