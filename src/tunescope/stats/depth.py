"""Early, middle and late layers of the same runs: each run gives one number for each, and runs are compared.

Layers of a run are no replicates: they share its seed, data and training. Its thirds are repeated
measurements of one run, so they are ranked and taken from one another within it.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from tunescope.results.table import RunValue
from tunescope.stats.claim import Claim
from tunescope.stats.corrections import holm
from tunescope.stats.finding import Effect, Finding, GroupSummary, Pair
from tunescope.stats.intervals import RESAMPLES, Floats, constant, paired, paired_difference

DEPTHS = ("early", "middle", "late")


def thirds(values: Sequence[RunValue]) -> list[RunValue]:
    """One number for each third of a run's layers, its group named after it: the mean over the layers there.

    Of L layers the i-th from below, i = 0 …, belongs to third ⌊3i/L⌋. A run that stands in several groups
    counts once.

    >>> layers = [RunValue("r", "lora", "lora seed=0", {}, float(i), layer=i) for i in range(7)]
    >>> [(third.group, third.value) for third in thirds(layers)]
    [('early', 1.0), ('middle', 3.5), ('late', 5.5)]
    """
    runs: defaultdict[str, list[RunValue]] = defaultdict(list)
    for value in values:
        if not runs[value.run] or runs[value.run][0].group == value.group:
            runs[value.run].append(value)
    found: list[RunValue] = []
    for layers in runs.values():
        layers.sort(key=lambda value: value.layer or 0)
        places = [DEPTHS[3 * i // len(layers)] for i in range(len(layers))]
        for depth in DEPTHS:
            mean = float(
                np.mean([v.value for v, place in zip(layers, places, strict=True) if place == depth])
            )
            factors = {name: value for name, value in layers[0].factors.items() if name != "layer"}
            found.append(replace(layers[0], group=depth, factors=factors, value=mean, layer=None))
    return found


def by_depth(groups: Sequence[GroupSummary], claim: Claim) -> Finding:
    """Compare the thirds of at least three runs: Friedman's test, then paired t tests with Holm's correction.

    The effect is the difference between the thirds with the largest and the smallest mean; its interval holds
    for all pairs of thirds at once (Bonferroni). Kendall's W is 1 where all runs order the thirds alike.

    Args:
        groups: early, middle and late, each with the same runs in the same order.
        claim: what is asked.

    Source: Friedman (1937), JASA 32; Kendall & Babington Smith (1939), Annals of Mathematical Statistics 10.
    """
    values = np.array([group.values for group in groups])
    ranked = sorted(groups, key=lambda group: (group.mean or 0.0) * (claim.direction or 1), reverse=True)
    highest = max(groups, key=lambda group: group.mean or 0.0)
    lowest = min(reversed(groups), key=lambda group: group.mean or 0.0)
    pairs = _pairs(groups, claim.unit)
    width = paired_difference(highest.values, lowest.values, 1 - 0.05 / len(pairs))
    n = values.shape[1]
    base = Finding(
        claim=claim.text,
        groups=tuple(groups),
        effect=replace(width, name=f"difference {highest.name} − {lowest.name}", unit=claim.unit),
        pairing="thirds of the same layers",
        ranking=tuple(group.name for group in ranked),
        pairs=pairs,
    )
    if all(constant(run) for run in values.T):
        return replace(base, warnings=("no run differs between its layers: there is nothing to test",))
    chi_squared, p, how = friedman(values)
    return replace(
        base,
        standardised=Effect("Kendall's W", chi_squared / (n * (len(groups) - 1))),
        p=p,
        test="Friedman's test",
        why=f"thirds of the same runs are repeated measurements, ranked within each run; p {how}, pairs by "
        "paired t tests",
    )


def friedman(values: Floats) -> tuple[float, float, str]:
    """Friedman's χ², corrected for ties, its p, and how p was found: exact up to 10,000 arrangements.

    Args:
        values: of shape (k, n), k conditions of the same n runs.

    >>> chi_squared, p, _ = friedman(np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [3.0, 3.0, 3.0]]))
    >>> round(chi_squared, 6), round(p, 6)
    (6.0, 0.027778)
    """
    ranks = stats.rankdata(values, axis=0)
    found = stats.friedmanchisquare(*ranks)

    def statistic(*conditions: Floats, axis: int) -> Floats:
        return np.sum([each.sum(axis=axis) ** 2 for each in conditions], axis=0)

    chi_squared = float(found.statistic)  # pyright: ignore[reportAttributeAccessIssue]
    k, n = values.shape
    if np.prod(np.arange(1, k + 1)) ** float(n) > RESAMPLES:
        return chi_squared, float(stats.chi2.sf(chi_squared, k - 1)), "by chi squared"
    counted = stats.permutation_test(
        tuple(ranks),
        statistic,
        permutation_type="samples",
        alternative="greater",
        n_resamples=RESAMPLES,
        vectorized=True,
        batch=1_000,
        rng=np.random.default_rng(0),
    )
    return chi_squared, float(counted.pvalue), "counts all orders within the runs"


def _pairs(groups: Sequence[GroupSummary], unit: str) -> tuple[Pair, ...]:
    tested: list[Pair] = []
    for first, second in itertools.combinations(groups, 2):
        difference, error, df = paired(first.values, second.values)
        p = float(2 * stats.t.sf(abs(difference / error), df)) if error > 0 else None
        effect = replace(paired_difference(first.values, second.values), unit=unit)
        tested.append(Pair(first.name, second.name, effect, p, None))
    corrected = iter(holm([pair.p for pair in tested if pair.p is not None]))
    return tuple(pair if pair.p is None else replace(pair, p_corrected=next(corrected)) for pair in tested)
