"""One group of runs held against a value, such as a change against none: the one-sample t test."""

from dataclasses import replace

import numpy as np
from scipy import stats

from tunescope.stats import power
from tunescope.stats.claim import Claim
from tunescope.stats.effects import hedges_g_paired
from tunescope.stats.finding import Effect, Finding, GroupSummary
from tunescope.stats.intervals import paired, paired_difference
from tunescope.stats.twogroup import permutation
from tunescope.stats.words import number, p_value


def one_group(group: GroupSummary, than: float, claim: Claim) -> Finding:
    """Compare the mean of at least three runs with a value.

    t = (x̄ − c) / (s / √n) with n − 1 degrees of freedom. Beside it stands the p that counts signs: how many
    of the 2ⁿ ways to turn differences around are as extreme, which asks only that they are as likely to lie
    above the value as below it.

    Args:
        group: the group that is asked about.
        than: the value, c.
        claim: what is asked.

    Source: Student (1908), Biometrika 6; Fisher (1935), The Design of Experiments, section 21, for the signs.
    """
    values = np.array(group.values)
    value = np.full(len(values), than)
    difference, error, df = paired(values, value)
    effect = paired_difference(values, value)
    base = Finding(
        claim=claim.text,
        groups=(group,),
        effect=replace(effect, name=f"difference from {number(than)}", unit=claim.unit),
        supports=claim.direction * difference > 0 if claim.direction else True,
    )
    if error == 0:
        return replace(base, warnings=("the runs do not vary: the difference is exact, nothing to test",))
    g = hedges_g_paired(values, value)
    counted, counting = permutation(values, value, together=True)
    return replace(
        base,
        standardised=None if g is None else replace(g, name="Hedges' g of one group"),
        p=float(2 * stats.t.sf(abs(difference / error), df)),
        test="one-sample t test",
        why=f"one group of runs, held against {number(than)}",
        detectable=Effect("Cohen's d of one group", power.pairs(len(values)).value),
        beside=(f"{counting.removesuffix(' of the pairs')}: {p_value(counted)}",),
    )
