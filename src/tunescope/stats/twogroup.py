"""Two groups of runs: Welch's t test, or the paired t test where the same seeds ran in both."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from tunescope.stats import power
from tunescope.stats.claim import Claim
from tunescope.stats.effects import cliffs_delta, hedges_g, hedges_g_paired
from tunescope.stats.finding import Effect, Finding, GroupSummary
from tunescope.stats.intervals import (
    RESAMPLES,
    Floats,
    Values,
    bca,
    paired,
    paired_difference,
    welch,
    welch_difference,
)
from tunescope.stats.words import interval, listed, number, p_value

FEWEST = 3  # values a group, below which an effect is shown but nothing is tested
BOOTSTRAP_FROM = 8  # below that many values a resample holds too few different ones to say anything


def two_groups(first: GroupSummary, second: GroupSummary, claim: Claim) -> Finding:
    """Compare the means of two groups, each of at least three values.

    Args:
        first: the group that the claim is about.
        second: the group it is held against.
        claim: what is asked.
    """
    order = _pairing(first, second)
    a = np.array(first.values)
    b = np.array(second.values)
    if order is not None:
        by, places = order
        b = b[places]
        difference, error, df = paired(a, b)
        effect, standardised = paired_difference(a, b), hedges_g_paired(a, b)
        test, detectable = "paired t test", power.pairs(len(a))
        why = f"each run of {first.name} has a partner in {second.name} with the same {by}"
    else:
        by = ""
        difference, error, df = welch(a, b)
        effect, standardised = welch_difference(a, b), hedges_g(a, b)
        test, detectable = "Welch's t test", power.two_groups(len(a), len(b))
        why = "two groups of independent runs, whose spreads may differ"
    base = Finding(
        claim=claim.text,
        groups=(first, second),
        effect=Effect("difference", effect.value, effect.low, effect.high, claim.unit),
        supports=claim.direction * difference > 0 if claim.direction else True,
        pairing=f"paired by {by}" if by else "",
        ranking=_ranking(first, second, difference, claim.direction),
    )
    if error == 0:
        what = "the paired differences do not vary" if by else "neither group varies"
        return replace(base, warnings=(f"{what}: the difference is exact and there is nothing to test",))
    p = float(2 * stats.t.sf(abs(difference / error), df))
    return replace(
        base,
        standardised=standardised,
        p=p,
        test=test,
        why=why,
        detectable=detectable,
        beside=tuple(_beside(a, b, bool(by), claim.unit)),
    )


def _ranking(first: GroupSummary, second: GroupSummary, difference: float, direction: int) -> tuple[str, str]:
    first_leads = difference * (direction or 1) >= 0
    return (first.name, second.name) if first_leads else (second.name, first.name)


def _pairing(first: GroupSummary, second: GroupSummary) -> tuple[str, list[int]] | None:
    """By which factors each run of the first group has one partner in the second, and where that stands."""
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


def _floor(p: float, n1: int, n2: int, together: bool) -> str:
    """Says so where a permutation p is the smallest there can be."""
    least = 2 / (2**n1 if together else math.comb(n1 + n2, n1))
    return ", the smallest that so few runs can give" if p <= least * (1 + 1e-9) else ""


def _beside(a: Floats, b: Floats, together: bool, unit: str) -> Sequence[str]:
    notes: list[str] = []
    exact, name = permutation(a, b, together)
    notes.append(f"{name}: {p_value(exact)}{_floor(exact, len(a), len(b), together)}")
    delta = number(cliffs_delta(a, b))
    notes.append(f"Cliff's delta {delta} (1: each run of the first group above each of the second)")
    if min(len(a), len(b)) >= BOOTSTRAP_FROM:
        low, high = bca([a - b], np.mean) if together else bca([a, b], mean_difference)
        found = interval(Effect("", 0.0, low, high))
        notes.append(f"bootstrap (BCa, 10,000 resamples) {found}{f' {unit}' if unit else ''}")
    return notes


def mean_difference(a: Floats, b: Floats, axis: int) -> Floats:
    """Mean of `a` − mean of `b` along `axis`."""
    return a.mean(axis=axis) - b.mean(axis=axis)


def permutation(a: Values, b: Values, together: bool) -> tuple[float, str]:
    """Two-sided permutation p of the difference of means, exact where there are at most 10,000 arrangements.

    Args:
        a: values of the first group.
        b: values of the second group.
        together: swap the signs of paired differences instead of shuffling values between groups.

    >>> permutation([1.0, 2.0, 3.0], [4.0, 5.0, 6.0], together=False)
    (0.1, 'exact permutation test')
    """
    x, y = np.asarray(a, float), np.asarray(b, float)
    found = stats.permutation_test(
        (x, y),
        mean_difference,
        permutation_type="samples" if together else "independent",
        n_resamples=RESAMPLES,
        vectorized=True,
        batch=1_000,
        rng=np.random.default_rng(0),
    )
    exact = len(found.null_distribution) != RESAMPLES
    kind = "sign-flip test of the pairs" if together else "permutation test"
    return float(found.pvalue), f"{'exact' if exact else 'random'} {kind}"
