"""Two groups of runs: Welch's t test, or the paired t test where the same seeds ran in both.

Where a study asks for another, Student's t test or a permutation test.
"""

import math
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
    student,
    t_interval,
    welch,
)
from tunescope.stats.pairing import pairing, unused
from tunescope.stats.reach import out_of_reach
from tunescope.stats.words import interval, number, p_value
from tunescope.study.chosen_test import Test

FEWEST = 3  # values a group, below which an effect is shown but nothing is tested
BOOTSTRAP_FROM = 8  # below that many values a resample holds too few different ones to say anything


def two_groups(first: GroupSummary, second: GroupSummary, claim: Claim, asked: Test | None = None) -> Finding:
    """Compare the means of two groups, each of at least three values.

    Args:
        first: the group that the claim is about.
        second: the group it is held against.
        claim: what is asked.
        asked: `welch` or `student`, which do not pair; `permutation`, whose p counts arrangements of the
            runs, or signs of the pairs; None: what the runs call for.
    """
    order = pairing(first, second) if asked in (None, "permutation") else None
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
        difference, error, df = student(a, b) if asked == "student" else welch(a, b)
        effect, standardised = t_interval(difference, error, df), hedges_g(a, b)
        test, detectable = "Welch's t test", power.two_groups(len(a), len(b))
        why = "two groups of independent runs, whose spreads may differ"
        if asked == "student":
            test, why = "Student's t test", "two groups of independent runs, whose spreads are taken for one"
    base = Finding(
        claim=claim.text,
        groups=(first, second),
        effect=Effect("difference", effect.value, effect.low, effect.high, claim.unit),
        supports=claim.direction * difference > 0 if claim.direction else True,
        pairing=f"paired by {by}" if by else "",
        ranking=leading(first, second, difference, claim.direction),
    )
    if error == 0:
        what = "the paired differences do not vary" if by else "neither group varies"
        return replace(base, warnings=(f"{what}: the difference is exact and there is nothing to test",))
    p = float(2 * stats.t.sf(abs(difference / error), df))
    counted, counting = permutation(a, b, bool(by))
    least = 2 / (2 ** len(a) if by else math.comb(len(a) + len(b), len(a)))
    floor = ", the smallest that so few runs can give" if counted <= least * (1 + 1e-9) else ""
    other = f"{counting}: {p_value(counted)}{floor}"
    warnings = unused(first, second) if asked in ("welch", "student") else ()
    if asked == "permutation":
        other = f"{test}: {p_value(p)}"
        p, test = counted, counting
        why = f"{why}; p counts arrangements, the interval is that of t"
        warnings = out_of_reach(least)
    return replace(
        base,
        standardised=standardised,
        p=p,
        test=test,
        why=f"the question asks for it; {why}" if asked else why,
        detectable=detectable,
        beside=(other, *_beside(a, b, bool(by), claim.unit)),
        warnings=warnings,
    )


def leading(first: GroupSummary, second: GroupSummary, difference: float, direction: int) -> tuple[str, str]:
    """The names of two groups, the better one first; the higher one where neither end is better."""
    first_leads = difference * (direction or 1) >= 0
    return (first.name, second.name) if first_leads else (second.name, first.name)


def _beside(a: Floats, b: Floats, together: bool, unit: str) -> Sequence[str]:
    delta = number(cliffs_delta(a, b))
    notes = [f"Cliff's delta {delta} (1: each run of the first group above each of the second)"]
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
