"""Two settings side by side: whether they move the same heads, as far, and those that matter."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunescope.results.runs import Factor
from tunescope.stats.finding import Effect
from tunescope.stats.head_agreement import PairAgreement, agreements
from tunescope.stats.head_seeds import over_seeds
from tunescope.stats.head_side import UPDATE, Side, side
from tunescope.stats.headwise import RunHeads
from tunescope.stats.intervals import paired_difference, welch_difference
from tunescope.stats.twogroup import FEWEST

COMPARED = ("importance", "importance_pre", "importance.base", "gate_gradient", "gate_fisher")
COMPARED += ("update", UPDATE, "plasticity.attention")

PAIRED, SEPARATE, TOO_FEW = "paired by seed", "separate runs", "too few runs for an interval"

Numbered = tuple[Factor | None, float]  # a run's seed and its number


@dataclass(frozen=True)
class Difference:
    """Mean of the second setting − mean of the first.

    Args:
        effect: with Student's 95 % interval over runs where both have three of them.
        how: what the interval rests on: `paired by seed`, `separate runs` (Welch), or why there is none.
    """

    effect: Effect
    how: str


@dataclass(frozen=True)
class Alike:
    """How alike two settings rank the heads by one quantity, and how alike each does over its own seeds.

    Args:
        between: at the same seeds; None where they share none, or the quantity does not vary.
        first: the first setting with itself, over different seeds.
        second: the second with itself.
        heads: how many heads have a number in both.
        quarter: how many of them a top quarter holds.
        both: the heads (layer, head) in the top quarter of both, by means over runs; of equal values the
            first counts.
    """

    between: PairAgreement | None
    first: PairAgreement | None
    second: PairAgreement | None
    heads: int
    quarter: int
    both: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Comparison:
    """Two settings, one tower, one head that losses were read under.

    Args:
        tower: of the heads.
        component: under which head of the model the losses were read.
        first: the setting that the other is held against.
        second: the other.
        moved: difference of the mean relative update; None where a side has none.
        rho: difference of Spearman's ρ of importance and relative update; None likewise.
        alike: by quantity, those that both have.
    """

    tower: str
    component: str
    first: Side
    second: Side
    moved: Difference | None
    rho: Difference | None
    alike: Mapping[str, Alike]


def compare(first: Sequence[RunHeads], second: Sequence[RunHeads]) -> list[Comparison]:
    """Two settings, for each tower and each head that losses were read under that both have.

    Args:
        first: the runs of the setting that the other is held against.
        second: the runs of the other; the same model.
    """
    found: list[Comparison] = []
    for tower, component in dict.fromkeys((run.tower, run.component) for run in first):
        a, b = (
            [run for run in runs if (run.tower, run.component) == (tower, component)]
            for runs in (first, second)
        )
        if a and b:
            one, other = side(a), side(b)
            moved = difference(*([(run.seed, run.update) for run in each.runs] for each in (one, other)))
            rho = difference(_rho(one), _rho(other))
            alike = {name: same for name in COMPARED if (same := _alike(name, a, b)) is not None}
            found.append(Comparison(tower, component, one, other, moved, rho, alike))
    return found


def difference(first: Sequence[Numbered], second: Sequence[Numbered]) -> Difference | None:
    """Mean of the second − mean of the first, paired where both have the same seeds, one run of each.

    Args:
        first: seed and number of each run; those that are not finite are left out.
        second: likewise.

    Returns:
        None where one of the two has no number.

    >>> found = difference([(0, 1.0), (1, 2.0)], [(0, 2.0)])
    >>> found.effect.value, found.effect.low, found.how
    (0.5, None, 'too few runs for an interval')
    """
    one, other = ([(seed, x) for seed, x in each if math.isfinite(x)] for each in (first, second))
    if not one or not other:
        return None
    a, b = ([x for _, x in each] for each in (one, other))
    if min(len(a), len(b)) < FEWEST:
        return Difference(Effect("difference", math.fsum(b) / len(b) - math.fsum(a) / len(a)), TOO_FEW)
    partner = dict(one)
    seeds = [seed for seed, _ in other]
    if None not in seeds and len(set(seeds)) == len(seeds) == len(one) and set(seeds) == set(partner):
        return Difference(paired_difference(b, [partner[seed] for seed in seeds]), PAIRED)
    return Difference(welch_difference(b, a), SEPARATE)


def _rho(found: Side) -> list[Numbered]:
    related = ((run.seed, run.relation) for run in found.runs)
    return [(seed, each.spearman.value) for seed, each in related if each is not None and each.spearman]


def _alike(quantity: str, a: Sequence[RunHeads], b: Sequence[RunHeads]) -> Alike | None:
    one, other = ([run.values[quantity] for run in runs if quantity in run.values] for runs in (a, b))
    if not one or not other:
        return None
    means = [over_seeds(values).mean for values in (one, other)]
    if means[0].shape != means[1].shape or not (known := np.isfinite(means[0]) & np.isfinite(means[1])).any():
        return None
    found = agreements([*a, *b], quantity)[0]
    names = (a[0].setting, b[0].setting)
    heads = int(known.sum())
    quarter = max(1, round(heads / 4))
    places = np.argwhere(known)
    tops = [set(np.argsort(-mean[known], kind="stable")[:quarter].tolist()) for mean in means]
    both = sorted(tops[0] & tops[1])
    return Alike(
        between=found.of(*names),
        first=found.of(names[0], names[0]),
        second=found.of(names[1], names[1]),
        heads=heads,
        quarter=quarter,
        both=tuple((int(layer), int(head)) for layer, head in places[both]),
    )
