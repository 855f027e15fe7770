"""Several groups of runs by the classical analysis of variance, and their pairs by Tukey's test.

A study asks for it by name. Both take the spread of all groups for one, which Welch's analysis does not.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from tunescope.stats.claim import Claim
from tunescope.stats.effects import omega_squared
from tunescope.stats.finding import Effect, Finding, GroupSummary
from tunescope.stats.groups import several_groups
from tunescope.stats.intervals import LEVEL, student, variance


def by_anova(groups: Sequence[GroupSummary], claim: Claim) -> Finding:
    """Compare the means of three or more groups, each of at least three values.

    F = (Σ nᵢ(x̄ᵢ − x̄)²/(k − 1)) / (Σ (xᵢⱼ − x̄ᵢ)²/(N − k)). The effect is the difference between the largest
    and the smallest mean; its interval, and those and the corrected p of all pairs, are Tukey's and hold at
    once.

    Source: Fisher (1925), Statistical Methods for Research Workers; Tukey (1953), The Problem of Multiple
    Comparisons; Kramer (1956), Biometrics 12, for groups of unequal size.
    """
    samples = [np.array(group.values) for group in groups]
    base = several_groups(groups, claim)
    n = sum(len(sample) for sample in samples)
    if all(variance(sample) == 0 for sample in samples):
        return base
    found = stats.f_oneway(*samples)
    tukey = stats.tukey_hsd(*samples)
    ends = tukey.confidence_interval(LEVEL)
    places = {group.name: i for i, group in enumerate(groups)}

    def difference(name: str, first: str, second: str) -> Effect:
        i, j = places[first], places[second]
        low, high = float(ends.low[i, j]), float(ends.high[i, j])
        return Effect(name, float(samples[i].mean() - samples[j].mean()), low, high, claim.unit)

    highest, lowest = (pick(groups, key=lambda group: group.mean or 0.0).name for pick in (max, min))
    return replace(
        base,
        effect=difference(f"difference {highest} − {lowest}", highest, lowest),
        standardised=omega_squared(float(found.statistic), len(groups) - 1, n - len(groups), n),
        p=float(found.pvalue),
        test="analysis of variance",
        why=f"the question asks for it; {len(groups)} groups of runs, whose spreads are taken for one, "
        "pairs by Tukey's test",
        pairs=tuple(
            replace(
                pair,
                difference=difference("difference", pair.first, pair.second),
                p=_alone(samples[places[pair.first]], samples[places[pair.second]]),
                p_corrected=float(tukey.pvalue[places[pair.first], places[pair.second]]),
            )
            for pair in base.pairs
        ),
    )


def _alone(a: np.ndarray, b: np.ndarray) -> float | None:
    """Student's p of one pair by itself; None where neither group varies."""
    difference, error, df = student(a, b)
    return float(2 * stats.t.sf(abs(difference / error), df)) if error > 0 else None
