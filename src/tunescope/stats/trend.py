"""A number against a numeric factor of the runs: Spearman's rank correlation with a permutation p.

Groups of runs differ in more than the factor, and each has its own range of it: gentle rates for one method
are fierce for another. So runs are ranked and shuffled within their groups, wherever a group has several
values of the factor; only a factor that tells groups apart, such as one rank for each, is read across them.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from tunescope.stats import power
from tunescope.stats.claim import Claim
from tunescope.stats.finding import Effect, Finding, GroupSummary
from tunescope.stats.intervals import Floats, Values, constant, pearson_interval, spearman_interval
from tunescope.stats.orders import SHUFFLES, counted, orders
from tunescope.stats.twogroup import FEWEST
from tunescope.stats.words import listed, number

ALPHA = 0.05

Stratum = tuple[Floats, Floats]  # factor and value of runs that may be shuffled among themselves


def trend(groups: Sequence[GroupSummary], factor: str, claim: Claim) -> Finding:
    """Correlate the values of all groups' runs, at least three in all, with a numeric factor of the runs.

    The effect is Spearman's ρ, which asks only for a monotone relation; Pearson's r stands beside it, on
    log₁₀ of the factor where that is positive and spans a factor of ten.
    """
    base = Finding(claim=claim.text, groups=tuple(groups))
    each = {group.name: _stratum(group, factor) for group in groups if group.n}
    everything = _together(list(each.values()))
    for name, values in zip((factor, "the metric"), everything, strict=True):
        if constant(values):
            same = f"{name} has the same value in every run: there is no trend to look for"
            return replace(base, warnings=(same,))
    within = {name: stratum for name, stratum in each.items() if np.ptp(stratum[0]) > 0}
    strata = list(within.values()) or [everything]
    if within:
        base = replace(base, groups=tuple(group for group in groups if group.name in within))
    n = sum(len(x) for x, _ in strata)
    if n < FEWEST:
        return base
    place = " within groups" if len(strata) > 1 else ""
    found = spearman(strata)
    if found is None:
        return replace(base, warnings=(f"within the groups that vary {factor}, the metric does not vary",))
    rho, p = found
    effective = n - len(strata) + 1  # each further group costs one mean
    low, high = spearman_interval(rho, effective) or (None, None)
    counting = "all" if counted([len(x) for x, _ in strata]) else f"{SHUFFLES:,} random"
    return replace(
        base,
        effect=Effect(f"Spearman's rho{place}", rho, low, high),
        standardised=pearson(strata, factor),
        p=p,
        test=f"Spearman's rank correlation{place}",
        why=f"the relation need not be straight; p from {counting} orders of the runs{place}, "
        "interval by Bonett and Wright",
        detectable=power.correlation(effective),
        beside=tuple(_beside(factor, within, each, everything)),
        warnings=tuple(_warnings(strata, rho, within)),
    )


def spearman(strata: Sequence[Stratum]) -> tuple[float, float] | None:
    """Spearman's ρ within strata (one stratum: the plain one; ties get mean ranks), two-sided permutation p.

    Ranks are divided by nₛ + 1 and centred in each stratum, then correlated over all. All orders are counted
    where there are at most 8! of them; else 9,999 seeded shuffles and the order at hand. None where the
    factor or the value varies in no stratum.

    Args:
        strata: pairs of factor and value, each of shape (nₛ,).

    >>> rho, p = spearman([(np.array([1.0, 2.0, 3.0, 4.0]), np.array([10.0, 20.0, 30.0, 40.0]))])
    >>> round(rho, 12), round(p, 4)
    (1.0, 0.0833)
    """
    u, v = ([_ranks(stratum[axis]) for stratum in strata] for axis in (0, 1))
    length = math.sqrt(sum(part @ part for part in u) * sum(part @ part for part in v))
    if length == 0:
        return None
    seen = sum(a @ b for a, b in zip(u, v, strict=True))
    null = orders(u, [part[:, None] for part in v])
    given = 0 if counted([len(part) for part in u]) else 1
    extreme = int(np.count_nonzero(np.abs(null) >= abs(seen) - 1e-12 * length))
    return _coefficient(seen / length), (extreme + given) / (null.size + given)


def pearson(strata: Sequence[Stratum], factor: str) -> Effect | None:
    """Pearson's r within strata with Fisher's interval, on log₁₀ of a factor that is positive over a decade.

    None where the factor or the value varies in no stratum.

    >>> pearson([(np.array([1e-5, 1e-4, 1e-3]), np.array([1.0, 2.0, 3.0]))], "lr").name
    "Pearson's r with log10(lr)"
    """
    x, _ = _together(strata)
    logarithmic = bool(x.min() > 0 and x.max() / x.min() >= 10 * (1 - 1e-9))
    u = np.concatenate([_centred(np.log10(a) if logarithmic else a) for a, _ in strata])
    v = np.concatenate([_centred(b) for _, b in strata])
    if not (u.any() and v.any()):
        return None
    u, v = u / np.abs(u).max(), v / np.abs(v).max()  # squares of very small numbers would be 0
    r = _coefficient(u @ v / math.sqrt(u @ u * (v @ v)))
    low, high = pearson_interval(r, len(u) - len(strata) + 1) or (None, None)
    place = " within groups" if len(strata) > 1 else ""
    return Effect(f"Pearson's r with {f'log10({factor})' if logarithmic else factor}{place}", r, low, high)


def _stratum(group: GroupSummary, factor: str) -> Stratum:
    values = np.array(group.values)
    if constant(values):  # what differs by rounding alone has no ranks
        values = np.full_like(values, values[0])
    return np.array([run[factor] for run in group.factors], float), values


def _together(strata: Sequence[Stratum]) -> Stratum:
    return np.concatenate([x for x, _ in strata]), np.concatenate([y for _, y in strata])


def _centred(values: Floats) -> Floats:
    return np.zeros_like(values) if constant(values) else values - values.mean()


def _ranks(values: Values) -> Floats:
    return _centred(stats.rankdata(np.asarray(values, float)) / (len(values) + 1))


def _rho(stratum: Stratum) -> float | None:
    """ρ of one stratum; None where it has no trend to show."""
    u, v = _ranks(stratum[0]), _ranks(stratum[1])
    length = math.sqrt(u @ u * (v @ v))
    return _coefficient(u @ v / length) if len(u) > 2 and length > 0 else None


def _coefficient(value: float | Floats) -> float:
    """A correlation without the rounding of its sums, which depends on the order of the runs."""
    return round(float(value), 12)


def _beside(
    factor: str, within: dict[str, Stratum], each: dict[str, Stratum], everything: Stratum
) -> Sequence[str]:
    found: list[str] = []
    if len(within) > 1:
        rhos = [(name, _rho(stratum)) for name, stratum in within.items()]
        texts = [f"{name} {'–' if rho is None else number(rho)}" for name, rho in rhos]
        found.append(f"Spearman's rho of each group: {listed(texts)}")
    if within and len(each) > 1:
        across = number(_rho(everything) or 0.0)
        found.append(f"Spearman's rho over all groups at once, whatever else they differ in: {across}")
        found += [f"{name} has one {factor} only and takes no part" for name in each if name not in within]
    return found


def _warnings(strata: Sequence[Stratum], rho: float, within: dict[str, Stratum]) -> Sequence[str]:
    found: list[str] = []
    against = [name for name, stratum in within.items() if (_rho(stratum) or 0.0) * rho < 0]
    if against:
        found.append(f"in {listed(against)} the trend runs the other way")
    ties = math.prod(math.factorial(same) for x, _ in strata for same in Counter(x.tolist()).values())
    reachable = 2 * ties / math.prod(math.factorial(len(x)) for x, _ in strata)
    if reachable > ALPHA:
        found.append(f"at these values of the factor even a perfect order gives p = {number(reachable)}")
    return found
