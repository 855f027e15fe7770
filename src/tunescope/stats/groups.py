"""Several groups of runs: Welch's analysis of variance, then every pair of groups, Holm-corrected.

Where a study asks for ranks, Kruskal and Wallis's test, then Dunn's of every pair.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats
from statsmodels.stats.oneway import anova_oneway

from tunescope.stats import power
from tunescope.stats.claim import Claim
from tunescope.stats.corrections import holm
from tunescope.stats.effects import omega_squared
from tunescope.stats.finding import Effect, Finding, GroupSummary, Pair
from tunescope.stats.intervals import RESAMPLES, Floats, Values, constant, variance, welch, welch_difference

EFFICIENCY = 3 / math.pi  # a rank test of n normal values finds what a test of means finds with 3n/π


def several_groups(groups: Sequence[GroupSummary], claim: Claim) -> Finding:
    """Compare the means of three or more groups, each of at least three values.

    The effect is the difference between the largest and the smallest mean; its interval holds for all pairs
    of groups at once (Bonferroni), because the two were picked after looking.
    """
    samples = [np.array(group.values) for group in groups]
    ranked = sorted(groups, key=lambda group: (group.mean or 0.0) * (claim.direction or 1), reverse=True)
    pairs = tuple(post_hoc(groups, claim.unit))
    highest, lowest = (
        max(groups, key=lambda group: group.mean or 0.0),
        min(reversed(groups), key=lambda group: group.mean or 0.0),
    )
    level = 1 - 0.05 / len(pairs)
    width = welch_difference(highest.values, lowest.values, level)
    base = Finding(
        claim=claim.text,
        groups=tuple(groups),
        effect=Effect(
            f"difference {highest.name} − {lowest.name}", width.value, width.low, width.high, claim.unit
        ),
        ranking=tuple(group.name for group in ranked),
        pairs=pairs,
    )
    n = sum(len(sample) for sample in samples)
    still = [group.name for group, sample in zip(groups, samples, strict=True) if variance(sample) == 0]
    if len(still) == len(groups):
        return replace(base, warnings=("no group varies: the means are exact and there is nothing to test",))
    detectable = power.several_groups(len(groups), n)
    if still:
        return replace(
            base,
            p=rank_permutation(samples),
            test="Kruskal–Wallis permutation test",
            why=f"{' and '.join(still)} does not vary, which Welch's analysis of variance cannot weigh",
            detectable=detectable,
        )
    found = anova_oneway(samples, use_var="unequal", welch_correction=True)
    return replace(
        base,
        standardised=omega_squared(float(found.statistic), float(found.df_num), float(found.df_denom), n),
        p=float(found.pvalue),
        test="Welch's analysis of variance",
        why=f"{len(groups)} groups of runs, whose spreads may differ",
        detectable=detectable,
    )


def by_kruskal(groups: Sequence[GroupSummary], claim: Claim) -> Finding:
    """Compare the ranks of three or more groups, each of at least three values.

    p is exact where there are at most 10,000 arrangements, else by χ². ε² = H/(N − 1) is the share of the
    ranks' variance that lies between groups. Pairs are told apart by Dunn's test.

    Source: Kruskal & Wallis (1952), JASA 47; Kelley (1935), PNAS 21, for ε².
    """
    samples = [np.array(group.values) for group in groups]
    n = sum(len(sample) for sample in samples)
    base = several_groups(groups, claim)
    if constant(np.concatenate(samples)):
        return base
    h = float(stats.kruskal(*samples).statistic)  # pyright: ignore[reportAttributeAccessIssue]
    few = math.factorial(n) // math.prod(math.factorial(len(s)) for s in samples) <= RESAMPLES
    return replace(
        base,
        standardised=Effect("epsilon squared", h / (n - 1)),
        p=rank_permutation(samples) if few else float(stats.chi2.sf(h, len(groups) - 1)),
        test="Kruskal–Wallis test",
        why=f"the question asks for it; {len(groups)} groups of runs by their ranks, "
        f"p {'counts all arrangements' if few else 'by chi squared'}, pairs by Dunn's test",
        detectable=power.several_groups(len(groups), n * EFFICIENCY),
        pairs=tuple(_dunn(samples, base.pairs)),
        warnings=(),
    )


def _dunn(samples: Sequence[Floats], pairs: Sequence[Pair]) -> list[Pair]:
    """Dunn's test of every pair, from the ranks of all groups together, with Holm's correction.

    z = (R̄ᵢ − R̄ⱼ)/√((N(N + 1)/12 − Σ(t³ − t)/(12(N − 1)))·(1/nᵢ + 1/nⱼ)), t the sizes of ties.

    Source: Dunn (1964), Technometrics 6.
    """
    everything = np.concatenate(samples)
    n = len(everything)
    ranks = np.split(stats.rankdata(everything), np.cumsum([len(sample) for sample in samples])[:-1])
    ties = np.unique(everything, return_counts=True)[1].astype(float)
    spread = n * (n + 1) / 12 - float((ties**3 - ties).sum()) / (12 * (n - 1))
    raw = [
        2 * float(stats.norm.sf(abs(x.mean() - y.mean()) / math.sqrt(spread * (1 / len(x) + 1 / len(y)))))
        for x, y in itertools.combinations(ranks, 2)
    ]
    return [
        replace(pair, p=p, p_corrected=corrected)
        for pair, p, corrected in zip(pairs, raw, holm(raw), strict=True)
    ]


def post_hoc(groups: Sequence[GroupSummary], unit: str = "") -> list[Pair]:
    """Welch's t test for every pair of groups, Holm's correction over those that can be tested."""
    tested: list[tuple[GroupSummary, GroupSummary, Effect, float | None]] = []
    for first, second in itertools.combinations(groups, 2):
        found = welch_difference(first.values, second.values)
        difference, error, df = welch(first.values, second.values)
        p = float(2 * stats.t.sf(abs(difference / error), df)) if error > 0 else None
        tested.append((first, second, Effect(found.name, found.value, found.low, found.high, unit), p))
    corrected = iter(holm([p for *_, p in tested if p is not None]))
    return [
        Pair(first.name, second.name, effect, p, None if p is None else next(corrected))
        for first, second, effect, p in tested
    ]


def rank_permutation(samples: Sequence[Values]) -> float:
    """Permutation p of Kruskal and Wallis's statistic, exact where there are at most 10,000 arrangements.

    Permuted is Σ Rᵢ²/nᵢ, Rᵢ the rank sum of a group: it orders arrangements as H does, ties or none.

    >>> round(rank_permutation([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), 4)
    0.0667
    """
    ranks = np.split(
        stats.rankdata(np.concatenate([np.asarray(s, float) for s in samples])),
        np.cumsum([len(s) for s in samples])[:-1],
    )

    def statistic(*groups: Floats, axis: int) -> Floats:
        return np.sum([g.sum(axis=axis) ** 2 / g.shape[axis] for g in groups], axis=0)

    found = stats.permutation_test(
        ranks,
        statistic,
        permutation_type="independent",
        alternative="greater",
        n_resamples=RESAMPLES,
        vectorized=True,
        batch=1_000,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)
