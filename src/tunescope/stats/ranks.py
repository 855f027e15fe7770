"""Two groups of runs by their ranks, where a study asks for it: Mann and Whitney's test, Wilcoxon's of pairs.

Ranks ask for no bell curve and care little for one wild run, but say little among few runs: three against
three cannot give p below 0.1.
"""

import math
from dataclasses import replace

import numpy as np
from scipy import stats

from tunescope.stats import power
from tunescope.stats.claim import Claim
from tunescope.stats.dominance import dominance, dominance_paired
from tunescope.stats.finding import Finding, GroupSummary
from tunescope.stats.groups import EFFICIENCY, rank_permutation
from tunescope.stats.intervals import RESAMPLES, Floats, constant
from tunescope.stats.pairing import pairing, unused
from tunescope.stats.reach import ALPHA, out_of_reach
from tunescope.stats.shift import shift, shift_paired


def mann_whitney(first: GroupSummary, second: GroupSummary, claim: Claim) -> Finding:
    """Whether runs of one group tend to be above those of the other, seeds they share or not.

    The effect is Hodges and Lehmann's shift, beside it stands Cliff's δ. p is exact where nothing is tied, or
    where there are at most 10,000 arrangements; else from the normal curve, corrected for ties.
    """
    a, b = _whole(np.array(first.values), np.array(second.values))
    base = _base(first, second, claim, float(dominance(a, b).value))
    if constant(np.concatenate([a, b])):
        same = ("every run has the same value: there is nothing to test",)
        return replace(base, effect=replace(shift(a, b), unit=claim.unit), warnings=same)
    p, how = mann_whitney_p(a, b)
    least = 2 / math.comb(len(a) + len(b), len(a))
    return replace(
        base,
        effect=replace(shift(a, b), unit=claim.unit),
        standardised=dominance(a, b),
        p=p,
        test="Mann–Whitney U test",
        why=f"the question asks for it; p {how}",
        detectable=power.two_groups(len(a) * EFFICIENCY, len(b) * EFFICIENCY) if least <= ALPHA else None,
        warnings=(*unused(first, second), *out_of_reach(least)),
    )


def wilcoxon(first: GroupSummary, second: GroupSummary, claim: Claim) -> Finding:
    """Whether runs of one group tend to be above their partners with the same seed in the other.

    Pairs without a difference are left out. p is exact up to fifty pairs, ties among them up to thirteen;
    else from the normal curve.
    """
    order = pairing(first, second)
    if order is None:
        warning = "Wilcoxon's test needs a partner with the same seed for each run: nothing is tested"
        return replace(_base(first, second, claim, 0.0), warnings=(warning,))
    a, b = _whole(np.array(first.values), np.array(second.values)[order[1]])
    scale = float(np.abs([a, b]).max())
    d = np.round((a - b) / scale, 12) * scale if scale else a - b  # 0.3 − 0.2 and 0.2 − 0.1 are tied
    base = replace(
        _base(first, second, claim, float(np.sign(shift_paired(d).value))),
        effect=replace(shift_paired(d), unit=claim.unit),
        pairing=f"paired by {order[0]}",
    )
    moved = d[d != 0]
    if len(moved) == 0:
        return replace(base, warnings=("no pair differs: there is nothing to test",))
    least = 2 / 2 ** len(moved)
    found = stats.wilcoxon(moved)
    return replace(
        base,
        standardised=dominance_paired(d),
        p=float(found.pvalue),  # pyright: ignore[reportAttributeAccessIssue]
        test="Wilcoxon's signed-rank test",
        why=f"the question asks for it; each run of {first.name} has a partner in {second.name} with the "
        f"same {order[0]}",
        detectable=power.pairs(len(d) * EFFICIENCY) if least <= ALPHA else None,
        warnings=out_of_reach(least),
    )


def mann_whitney_p(a: Floats, b: Floats) -> tuple[float, str]:
    """Two-sided p of U, and how it was found.

    >>> mann_whitney_p(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]))
    (0.1, 'is exact')
    """
    tied = len(np.unique(np.concatenate([a, b]))) < len(a) + len(b)
    few = math.comb(len(a) + len(b), len(a)) <= RESAMPLES
    if tied and few:
        return rank_permutation([a, b]), "counts all arrangements, since values are tied"
    exact = not tied and max(len(a), len(b)) <= 50
    found = stats.mannwhitneyu(a, b, method="exact" if exact else "asymptotic")
    return float(found.pvalue), "is exact" if exact else "from the normal curve, corrected for ties"


def _whole(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Values without the rounding of their sums, which would break ties by chance."""
    scale = float(max(np.abs(a).max(), np.abs(b).max()))
    return (np.round(a / scale, 12) * scale, np.round(b / scale, 12) * scale) if scale else (a, b)


def _base(first: GroupSummary, second: GroupSummary, claim: Claim, above: float) -> Finding:
    leads = above * (claim.direction or 1) >= 0
    names = (first.name, second.name)
    return Finding(
        claim=claim.text,
        groups=(first, second),
        supports=claim.direction * above > 0 if claim.direction else True,
        ranking=names if leads else names[::-1],
    )
