"""Layers or heads of runs by the cluster bootstrap: whole runs are drawn, with what their rows share.

In each resample the t statistic is taken again, with its error between runs: plain resampled means of few
runs spread too little. Of four or five normal runs a group it rejects in 2 to 4 % of null studies, with
unequal spreads too, where the wild bootstrap with Webb's weights rejects in 5 to 9 %.

Source: Cameron, Gelbach & Miller (2008), Review of Economics and Statistics 90, the pairs cluster
bootstrap-t; Westfall & Young (1993), Resampling-Based Multiple Testing, for the largest t of several pairs.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tunescope.stats import power
from tunescope.stats.claim import Claim
from tunescope.stats.clusters import Clusters, at_runs, clusters, differences
from tunescope.stats.effects import hedges_g, hedges_g_paired
from tunescope.stats.finding import Effect, Finding, GroupSummary, Pair
from tunescope.stats.intervals import CONSTANT, LEVEL, RESAMPLES, Floats, Values
from tunescope.stats.mixed_model import Rows, correlation_note, stacked
from tunescope.stats.pairing import pairing
from tunescope.stats.twogroup import leading
from tunescope.stats.words import count, number

RESAMPLED = RESAMPLES - 1  # and the runs at hand


@dataclass(frozen=True)
class Contrast:
    """Mean of one group of runs less that of another, or the mean of paired differences.

    Args:
        value: the difference.
        error: √(V₁ + V₂), V = n/(n − 1)·Σ_runs (S − m·mean)²/(Σ m)², S the sum of a run's m rows.
        by_chance: |t| around the value in each resample, of shape (resamples,).
    """

    value: float
    error: float
    by_chance: Floats

    @property
    def t(self) -> float:
        """|t| at hand."""
        return abs(self.value) / self.error

    def interval(self, largest: Floats) -> tuple[float | None, float | None]:
        """The value ± c·error, c the 95 % point of |t| by chance; no ends where that is infinite."""
        ordered = np.sort(largest)
        c = float(ordered[math.ceil(LEVEL * (len(ordered) + 1)) - 1])
        return (self.value - c * self.error, self.value + c * self.error) if c < math.inf else (None, None)


def bootstrapped(groups: Sequence[Clusters]) -> list[Contrast]:
    """Every pair of groups, from the same resamples of their runs; one group: its mean.

    >>> found = bootstrapped([Clusters(np.array([1.0, 2.0, 3.0, 5.0]), np.arange(4.0), ((0,),) * 4)])[0]
    >>> round(found.value, 2), round(found.error, 4), len(found.by_chance)
    (2.75, 0.8539, 9999)
    """
    rng = np.random.default_rng(0)
    means, errors = zip(*(_mean(group.sums[None], group.sizes[None]) for group in groups), strict=True)
    again = [_again(group, float(mean[0]), rng) for group, mean in zip(groups, means, strict=True)]
    if len(groups) == 1:
        moved, squared = again[0]
        return [Contrast(float(means[0][0]), math.sqrt(float(errors[0][0])), _t(moved, squared))]
    return [
        Contrast(
            float(means[i][0] - means[j][0]),
            math.sqrt(float(errors[i][0] + errors[j][0])),
            _t(again[i][0] - again[j][0], again[i][1] + again[j][1]),
        )
        for i, j in itertools.combinations(range(len(groups)), 2)
    ]


def bootstrap_groups(groups: Sequence[GroupSummary], claim: Claim) -> Finding:
    """Compare the rows of two or more groups, each of at least three runs.

    Two groups with the same seeds are compared by the differences of their partners, and pairs are drawn. Of
    more groups the pair with the largest t decides, held against the largest t by chance.

    Args:
        groups: rows of layers or heads.
        claim: what is asked.
    """
    runs = [at_runs(group) for group in groups]
    order = pairing(runs[0], runs[1]) if len(runs) == 2 else None
    apart = None if order is None else differences(groups[0], groups[1], order[1])
    paired = order is not None and apart is not None
    whole = stacked([clusters(group) for group in groups])
    drawn = [apart] if paired and apart is not None else [clusters(group) for group in groups]
    found = bootstrapped(drawn)
    base = Finding(
        claim=claim.text,
        groups=tuple(runs),
        pairing=f"paired by {order[0]}" if paired and order is not None else "",
        ranking=tuple(group.name for group in runs),
    )
    if any(contrast.error <= CONSTANT * abs(contrast.value) for contrast in found):
        return replace(base, warnings=("the runs do not vary: there is nothing to test",))
    largest = np.max([contrast.by_chance for contrast in found], axis=0)
    p = _p(largest, max(contrast.t for contrast in found))
    what, unit = "pair" if paired else "run", drawn[0].unit
    base = replace(
        base,
        p=p,
        test="cluster bootstrap of t",
        why=f"{unit}s of one run share its luck: {count(sum(each.n for each in drawn), what)} are the "
        f"clusters, {RESAMPLED:,} seeded resamples of whole {what}s, t taken again in each",
        beside=_correlation(drawn, len(drawn)),
        warnings=(*_ragged(whole), *_reach(largest)),
    )
    if len(groups) > 2:
        return _several(base, found, largest, claim)
    value, a, b = found[0].value, runs[0].values, runs[1].values
    return replace(
        base,
        effect=Effect("difference", value, *found[0].interval(largest), claim.unit),
        supports=claim.direction * value > 0 if claim.direction else True,
        ranking=leading(runs[0], runs[1], value, claim.direction),
        standardised=_standardised(a, b, order[1] if paired and order else None) if whole.complete else None,
        detectable=power.pairs(drawn[0].n) if paired else power.two_groups(runs[0].n, runs[1].n),
    )


def _several(base: Finding, found: Sequence[Contrast], largest: Floats, claim: Claim) -> Finding:
    names = [group.name for group in base.groups]
    means = {group.name: group.mean or 0.0 for group in base.groups}
    pairs = tuple(
        Pair(
            first,
            second,
            Effect("difference", contrast.value, *contrast.interval(contrast.by_chance), claim.unit),
            _p(contrast.by_chance, contrast.t),
            _p(largest, contrast.t),
        )
        for (first, second), contrast in zip(itertools.combinations(names, 2), found, strict=True)
    )
    widest = max(range(len(found)), key=lambda i: abs(found[i].value))
    first, second = pairs[widest].first, pairs[widest].second
    contrast = found[widest]
    low, high = contrast.interval(largest)
    value = contrast.value
    if value < 0:
        first, second, value = second, first, -value
        low, high = (None if high is None else -high), (None if low is None else -low)
    n = sum(group.n for group in base.groups)
    return replace(
        base,
        effect=Effect(f"difference {first} − {second}", value, low, high, claim.unit),
        detectable=power.several_groups(len(names), n),
        ranking=tuple(sorted(names, key=lambda name: -means[name] * (claim.direction or 1))),
        pairs=pairs,
    )


def _mean(sums: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """Means over rows and their squared errors between runs; of resamples side by side, (resamples, runs)."""
    n = sums.shape[1]
    means = sums.sum(1) / sizes.sum(1)
    rest = sums - means[:, None] * sizes
    return means, n / (n - 1) * (rest**2).sum(1) / sizes.sum(1) ** 2


def _again(group: Clusters, mean: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """How far the means of resamples are from the mean, and their squared errors: 0 of one run alone."""
    drawn = rng.integers(0, group.n, (RESAMPLED, group.n))
    means, squared = _mean(group.sums[drawn], group.sizes[drawn])
    alone = (drawn == drawn[:, :1]).all(1)
    return means - mean, np.where(alone, 0.0, squared)


def _t(moved: Floats, squared: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(squared > 0, np.abs(moved) / np.sqrt(squared), math.inf)


def _p(by_chance: Floats, t: float) -> float:
    return (int(np.count_nonzero(by_chance >= t * (1 - CONSTANT))) + 1) / (len(by_chance) + 1)


def _correlation(drawn: Sequence[Clusters], k: int) -> tuple[str, ...]:
    together = stacked(drawn)
    member = np.repeat(np.arange(k), [len(each.values) for each in drawn])
    found = Rows(together, np.eye(k)[member]).fit()
    return () if found is None else (correlation_note(found.correlation, drawn[0].unit),)


def _standardised(a: Values, b: Values, order: Sequence[int] | None) -> Effect | None:
    return hedges_g(a, b) if order is None else hedges_g_paired(a, np.array(b)[order])


def _ragged(rows: Clusters) -> tuple[str, ...]:
    if rows.complete:
        return ()
    return (
        f"not every run has every {rows.unit}: means of all rows are compared, or of those that partners "
        f"share; 'test: mixed_model' compares them at the same {rows.unit}s",
    )


def _reach(largest: Floats) -> tuple[str, ...]:
    least = _p(largest, math.inf)
    if least <= 1 - LEVEL:
        return ()
    return (
        f"of so few runs, {number(100 * least)} % of the resamples hold one alone, whose error is unknown: p "
        "cannot be smaller than that; take more runs, or 'test: mixed_model'",
    )
