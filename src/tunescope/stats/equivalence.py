"""Whether two groups are the same, or one keeps a value, to within a margin that was declared: TOST.

That no difference is found does not make groups equal: few runs find nothing. Equal are those whose
difference is shown to be smaller than what would matter.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from tunescope.stats.claim import Claim
from tunescope.stats.effects import hedges_g, hedges_g_paired
from tunescope.stats.finding import Effect, Finding, GroupSummary
from tunescope.stats.intervals import LEVEL, paired, t_interval, welch
from tunescope.stats.pairing import pairing
from tunescope.stats.share import ratio_interval, smallest_share, within_share
from tunescope.stats.words import interval, number, p_value
from tunescope.study.question import Question

WEIGHED = 0.90  # two one-sided tests at 5 % leave this much between them
CLEAR, FOUND = 0.05, 0.80


def equivalence(groups: Sequence[GroupSummary], question: Question, claim: Claim) -> Finding:
    """Hold the difference of two groups, or that of one group to a value, against ± the question's margin.

    A margin in per cent is a share of the second group's mean, or of the value that is kept.

    Of the three regions (below −margin, within, above margin) only one is true, so each is tested at the full
    level: yes needs both outer ones refuted, each one-sided; no needs the inner one refuted, two-sided.

    Args:
        groups: two, or one with `keeps`, each of at least three values.
        question: with `claim: equal` and `margin`.
        claim: what is asked.
    """
    margin = in_units(question, groups)
    assert margin is not None
    first, *others = groups
    a = np.array(first.values)
    order = pairing(first, others[0]) if others else None
    standardised = None
    if not others:
        assert question.keeps is not None
        error_of = paired(a, np.full(len(a), question.keeps))
        test, why = "TOST of one group", f"one group of runs, held against {number(question.keeps)}"
    elif order is not None:
        b = np.array(others[0].values)[order[1]]
        error_of, standardised = paired(a, b), hedges_g_paired(a, b)
        test = "paired TOST"
        why = f"each run of {first.name} has a partner in {others[0].name} with the same {order[0]}"
    else:
        b = np.array(others[0].values)
        error_of, standardised = welch(a, b), hedges_g(a, b)
        test, why = "Welch's TOST", "two groups of independent runs, whose spreads may differ"
    difference, error, df = error_of
    base = Finding(
        claim=claim.text,
        groups=tuple(groups),
        effect=replace(t_interval(difference, error, df, LEVEL), unit=claim.unit),
        supports=abs(difference) <= margin,
        pairing=f"paired by {order[0]}" if order else "",
    )
    if error == 0:
        return replace(base, warnings=("the runs do not vary: the difference is exact, nothing to test",))
    if question.share is not None and others:
        return _by_share(base, question.share, order[1] if order else None, why, standardised)
    within, beyond = tost(difference, error, df, margin)
    same = 2 * float(stats.t.sf(abs(difference / error), df))
    weighed = replace(t_interval(difference, error, df, WEIGHED), unit=claim.unit)
    smallest = error * float(stats.t.isf(CLEAR, df) + stats.t.isf((1 - FOUND) / 2, df))
    return replace(
        base,
        weighed=weighed,
        standardised=standardised,
        p=within if base.supports else beyond,
        test=test,
        why=f"{why}; before correction, yes where the whole 90 % interval lies within the margin, no where "
        "the whole 95 % interval lies beyond it",
        detectable=Effect("margin", smallest, unit=claim.unit),
        beside=(
            f"{interval(weighed, '90 %')}, held against ±{number(margin)} {claim.unit}".rstrip(),
            f"that there is no difference at all: {p_value(same)}",
        ),
    )


def in_units(question: Question, groups: Sequence[GroupSummary]) -> float | None:
    """The margin in the metric's unit: a share is of the value that is kept, or of the last mean."""
    if question.share is None or question.margin is None:
        return None if question.margin is None else float(question.margin)
    whole = groups[-1].mean if question.keeps is None else question.keeps
    return None if whole is None else question.share * abs(whole)


def _by_share(
    base: Finding, share: float, order: Sequence[int] | None, why: str, standardised: Effect | None
) -> Finding:
    """Two groups, with both means uncertain; their ratio is held against 1 ± the share."""
    first, second = base.groups
    together = order is not None
    a, b = np.array(first.values), np.array(second.values)
    b = b if order is None else b[order]
    both = within_share(a, b, share, together)
    if both is None or b.mean() == 0:
        return replace(base, warnings=(f"the runs of {second.name} leave no mean to take a share of",))
    within, beyond = both
    ratio = ratio_interval(a, b, WEIGHED, together)
    vague = ratio.low is None or ratio.high is None
    return replace(
        base,
        weighed=ratio,
        standardised=standardised,
        p=within if base.supports else beyond,
        test="paired TOST of the ratio of means" if together else "Welch's TOST of the ratio of means",
        why=f"{why}, and the mean that the margin is a share of is uncertain too; before correction, yes "
        f"where the whole 90 % interval of the ratio lies within {number(1 - share)} to {number(1 + share)}",
        detectable=smallest_share(a, b, together),
        warnings=(f"the mean of {second.name} may be 0, and a share of it nothing",) if vague else (),
    )


def tost(difference: float, error: float, df: float, margin: float) -> tuple[float, float]:
    """The p of "the difference is within ± margin", and that of "it is beyond".

    Within: the larger of two one-sided p, of difference > −margin and of difference < margin. Beyond: twice
    the smaller one of the opposite sides, at most 1.

    Args:
        difference: as estimated.
        error: its standard error, positive.
        df: degrees of freedom of the t statistic.
        margin: positive.

    Source: Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics 15; Goeman, Solari & Stijnen
    (2010), Statistics in Medicine 29, for the three regions together.

    >>> [round(p, 4) for p in tost(0.0, 1.0, 10, 2.0)]
    [0.0367, 1.0]
    >>> [round(p, 4) for p in tost(5.0, 1.0, 10, 2.0)]
    [0.9933, 0.0133]
    """
    sides = [(difference + margin) / error, (margin - difference) / error]
    within = max(float(stats.t.sf(side, df)) for side in sides)
    return within, min(1.0, 2 * min(float(stats.t.cdf(side, df)) for side in sides))
