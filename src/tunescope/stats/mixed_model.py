"""Layers or heads of runs in a mixed model: the run, or the pair of runs, is the random effect.

Layers of one run are no replicates, but they need not be thrown together either: each layer (and head) has a
mean of its own, a fixed effect, and what a run adds to all of its layers is a random one. What is compared
differs between runs alone, so that t and F have the degrees of freedom between runs (containment): z would
count layers. With the same layers in every run, the answer is that of the runs' means.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from tunescope.stats import power
from tunescope.stats.claim import Claim
from tunescope.stats.clusters import Clusters, at_runs, clusters, differences
from tunescope.stats.corrections import holm
from tunescope.stats.effects import hedges_g, hedges_g_paired, omega_squared
from tunescope.stats.finding import Effect, Finding, GroupSummary, Pair
from tunescope.stats.intervals import LEVEL, Floats, t_interval
from tunescope.stats.pairing import pairing
from tunescope.stats.random_intercept import Fit, random_intercept
from tunescope.stats.twogroup import leading
from tunescope.stats.words import count, number

TEST = "mixed model with the run as random effect"
NOT_FITTED = (
    "the mixed model cannot be fitted: runs, or the rows within them, do not vary, have one row each, or "
    "have none in common; compare runs with 'unit: run'"
)


@dataclass(frozen=True)
class Rows:
    """Rows to fit: what runs differ by, and where each row stands."""

    clusters: Clusters
    between: Floats  # of shape (rows, q): the same in all rows of a run

    def fit(self) -> Fit | None:
        """Each place gets a mean of its own, as far as it is from the average row's."""
        known = sorted(set(self.clusters.places), key=str)
        places = np.array([[float(own == place) for place in known[1:]] for own in self.clusters.places])
        places = places.reshape(len(self.clusters.values), -1)
        x = np.column_stack([self.between, places - places.mean(0)])
        return random_intercept(self.clusters.values, x, self.clusters.runs, self.clusters.complete)


def mixed_groups(groups: Sequence[GroupSummary], claim: Claim) -> Finding:
    """Compare the rows of two or more groups, each of at least three runs.

    Two groups with the same seeds are compared by the differences of their partners, layer by layer; there
    the pair is the random effect.

    Args:
        groups: rows of layers or heads.
        claim: what is asked.
    """
    runs = [at_runs(group) for group in groups]
    together = stacked([clusters(group) for group in groups])
    order = pairing(runs[0], runs[1]) if len(runs) == 2 else None
    rows = None if order is None else differences(groups[0], groups[1], order[1])
    if order is not None and rows is not None:
        found = _paired(runs, Rows(rows, np.ones((len(rows.values), 1))), order, claim)
        return found if together.complete or found.p is None else at_the_same(found, together)
    member = np.repeat(np.arange(len(groups)), [group.n for group in groups])
    found = Rows(together, np.eye(len(groups))[member]).fit()
    base = Finding(claim=claim.text, groups=tuple(runs), ranking=tuple(group.name for group in runs))
    if found is None:
        return replace(base, warnings=(NOT_FITTED,))
    n = together.n
    df = n - len(groups)
    base = replace(
        base,
        test=TEST,
        why=f"{fixed(together, df)}, runs spread alike in all groups",
        beside=(correlation_note(found.correlation, together.unit),),
    )
    if len(groups) > 2:
        told = _several(base, found, df, claim)
    else:
        base = replace(base, detectable=power.two_groups(runs[0].n, runs[1].n))
        told = _two(base, hedges_g(runs[0].values, runs[1].values), *_contrast(found, [1, -1]), df, claim)
    return told if together.complete else at_the_same(told, together)


def correlation_note(correlation: float, unit: str) -> str:
    """What the intraclass correlation says.

    >>> correlation_note(0.431, "layer")
    'intraclass correlation 0.431: that much of what is left, each layer having its own mean, is the run'
    """
    told = f"intraclass correlation {number(correlation)}"
    if correlation <= 0:
        return f"{told}: {unit}s of one run are no more alike than those of several"
    return f"{told}: that much of what is left, each {unit} having its own mean, is the run"


def stacked(parts: Sequence[Clusters]) -> Clusters:
    """The rows of several groups, one after the other, no run in two of them."""
    starts = np.cumsum([0, *(part.n for part in parts[:-1])])
    return Clusters(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.runs + start for part, start in zip(parts, starts, strict=True)]),
        tuple(place for part in parts for place in part.places),
    )


def _paired(runs: Sequence[GroupSummary], rows: Rows, order: tuple[str, list[int]], claim: Claim) -> Finding:
    by, places = order
    found = rows.fit()
    base = Finding(claim=claim.text, groups=tuple(runs), pairing=f"paired by {by}")
    if found is None:
        return replace(base, warnings=(NOT_FITTED,))
    n = rows.clusters.n
    partners = np.array(runs[1].values)[places]
    base = replace(
        base,
        test="mixed model of paired differences, with the pair as random effect",
        why=f"each run of {runs[0].name} has a partner in {runs[1].name} with the same {by}; "
        f"{fixed(rows.clusters, n - 1, 'pair')}",
        detectable=power.pairs(n),
        beside=(correlation_note(found.correlation, rows.clusters.unit),),
    )
    return _two(base, hedges_g_paired(runs[0].values, partners), *_contrast(found, [1]), n - 1, claim)


def fixed(rows: Clusters, df: int, what: str = "run") -> str:
    """How the model is made, in words."""
    return (
        f"{rows.unit}s of one {what} share its luck: {count(rows.n, what)} as the random effect, each "
        f"{rows.unit}'s mean as a fixed one, {df} degree{'' if df == 1 else 's'} of freedom between {what}s"
    )


def at_the_same(found: Finding, rows: Clusters) -> Finding:
    """What was found where runs do not all have the same layers or heads; their means are then of no use."""
    note = (
        f"not every run has every {rows.unit}: what is tested is what differs at the same {rows.unit}s, and "
        "need not be what the means differ by"
    )
    return replace(found, standardised=found.standardised if found.pairs else None, warnings=(note,))


def _contrast(found: Fit, weights: Sequence[float]) -> tuple[float, float]:
    """An estimate and its standard error; the first effects are those between runs."""
    k = len(weights)
    w = np.array(weights, float)
    return float(w @ found.beta[:k]), float(np.sqrt(w @ found.covariance[:k, :k] @ w))


def _two(
    base: Finding, standardised: Effect | None, difference: float, error: float, df: int, claim: Claim
) -> Finding:
    first, second = base.groups
    return replace(
        base,
        effect=replace(t_interval(difference, error, df), unit=claim.unit),
        standardised=standardised,
        p=float(2 * stats.t.sf(abs(difference / error), df)),
        supports=claim.direction * difference > 0 if claim.direction else True,
        ranking=leading(first, second, difference, claim.direction),
    )


def _several(base: Finding, found: Fit, df: int, claim: Claim) -> Finding:
    """F of all groups, and every pair; as with runs, the largest difference holds for all pairs at once."""
    k = len(base.groups)
    n = df + k
    wanted = np.eye(k)[1:] - np.eye(k)[0]
    gaps = wanted @ found.beta[:k]
    f = float(gaps @ np.linalg.solve(wanted @ found.covariance[:k, :k] @ wanted.T, gaps)) / (k - 1)
    pairs: list[Pair] = []
    for i, j in itertools.combinations(range(k), 2):
        difference, error = _contrast(found, np.eye(k)[i] - np.eye(k)[j])
        p = float(2 * stats.t.sf(abs(difference / error), df))
        effect = replace(t_interval(difference, error, df), unit=claim.unit)
        pairs.append(Pair(base.groups[i].name, base.groups[j].name, effect, p, None))
    corrected = holm([pair.p for pair in pairs if pair.p is not None])
    order = np.argsort(-found.beta[:k] * (claim.direction or 1), kind="stable")
    high, low = int(np.argmax(found.beta[:k])), int(np.argmin(found.beta[:k]))
    difference, error = _contrast(found, np.eye(k)[high] - np.eye(k)[low])
    width = t_interval(difference, error, df, 1 - (1 - LEVEL) / len(pairs))
    return replace(
        base,
        effect=replace(
            width,
            name=f"difference {base.groups[high].name} − {base.groups[low].name}",
            unit=claim.unit,
        ),
        standardised=omega_squared(f, k - 1, df, n),
        p=float(stats.f.sf(f, k - 1, df)),
        detectable=power.several_groups(k, n),
        ranking=tuple(base.groups[i].name for i in order),
        pairs=tuple(replace(pair, p_corrected=p) for pair, p in zip(pairs, corrected, strict=True)),
    )
