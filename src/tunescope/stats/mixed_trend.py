"""Layers or heads of runs against a numeric factor, in a mixed model: the run is the random effect."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from tunescope.stats import power
from tunescope.stats.claim import Claim
from tunescope.stats.clusters import at_runs, clusters
from tunescope.stats.coefficient import PEARSON
from tunescope.stats.finding import Finding, GroupSummary
from tunescope.stats.intervals import t_interval
from tunescope.stats.mixed_model import NOT_FITTED, TEST, Rows, at_the_same, correlation_note, fixed, stacked
from tunescope.stats.trend import correlated, spaced, strata
from tunescope.stats.twogroup import FEWEST


def mixed_trend(groups: Sequence[GroupSummary], factor: str, claim: Claim) -> Finding:
    """The slope along a factor, within groups as in `trend`: value ~ factor + group + layer + (1 | run).

    The slope is for each tenfold where the factor is positive and spans a factor of ten, else for each unit.
    On balanced data its test is that of Pearson's r of the runs' means.

    Args:
        groups: rows of layers or heads, of at least three runs in all.
        factor: a numeric factor of the runs.
        claim: what is asked.
    """
    runs = [at_runs(group) for group in groups]
    base = Finding(claim=claim.text, groups=tuple(runs))
    parts = strata(runs, factor)
    if isinstance(parts, str):
        return replace(base, warnings=(parts,))
    base = replace(base, groups=parts.taking_part(runs))
    used = [group for group in groups if group.n and group.name in {each.name for each in base.groups}]
    x, told = spaced(
        np.concatenate([np.array([f[factor] for f in group.factors], float) for group in used]), factor
    )
    member = (
        np.repeat(np.arange(len(used)), [group.n for group in used])
        if parts.within
        else np.zeros(len(x), int)
    )
    own = np.eye(member.max() + 1)[member]
    rows = stacked([clusters(group) for group in used])
    df = rows.n - own.shape[1] - 1
    if rows.n < FEWEST or df < 1:
        return base
    found = Rows(rows, np.column_stack([x - x.mean(), own])).fit()
    if found is None:
        return replace(base, warnings=(NOT_FITTED,))
    slope, error = float(found.beta[0]), float(np.sqrt(found.covariance[0, 0]))
    step = f"for each tenfold {factor}" if told != factor else f"for each 1 of {factor}"
    effect = replace(t_interval(slope, error, df), name=f"slope{parts.place} {step}", unit=claim.unit)
    told = replace(
        base,
        effect=effect,
        standardised=correlated(parts, factor, PEARSON),
        p=float(2 * stats.t.sf(abs(slope / error), df)),
        test=TEST,
        why=f"{fixed(rows, df)}, the relation is taken for a straight line",
        detectable=power.correlation(rows.n - own.shape[1] + 1),
        beside=(correlation_note(found.correlation, rows.unit),),
    )
    return told if rows.complete else at_the_same(told, rows)
