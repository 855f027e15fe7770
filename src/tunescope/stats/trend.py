"""A number against a numeric factor of the runs: a correlation, Spearman's unless another is asked for.

Groups of runs differ in more than the factor, and each has its own range of it: gentle rates for one method
are fierce for another. So runs are ranked and shuffled within their groups, wherever a group has several
values of the factor; only a factor that tells groups apart, such as one rank for each, is read across them.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tunescope.stats import power
from tunescope.stats.claim import Claim
from tunescope.stats.coefficient import PEARSON, SPEARMAN, Coefficient, coefficient
from tunescope.stats.finding import Effect, Finding, GroupSummary
from tunescope.stats.intervals import Floats, constant
from tunescope.stats.partial import Held
from tunescope.stats.twogroup import FEWEST
from tunescope.stats.words import listed, number
from tunescope.study.chosen_test import Test

ALPHA = 0.05

Stratum = tuple[Floats, Floats]  # factor and value of runs that may be shuffled among themselves


@dataclass(frozen=True)
class Strata:
    """The runs of a trend.

    Args:
        each: of every group, factor and value.
        within: those of the groups that vary the factor; empty where none does.
        used: what is correlated, stratum by stratum.
    """

    each: Mapping[str, Stratum]
    within: Mapping[str, Stratum]
    used: tuple[Stratum, ...]

    @property
    def place(self) -> str:
        """Where the trend is read, in words."""
        return " within groups" if len(self.used) > 1 else ""

    def taking_part(self, groups: Sequence[GroupSummary]) -> tuple[GroupSummary, ...]:
        """The groups that the trend is read in."""
        return tuple(group for group in groups if group.name in self.within or not self.within)


def strata(groups: Sequence[GroupSummary], factor: str) -> Strata | str:
    """Which runs can be held against which, or why none can."""
    each = {group.name: _stratum(group, factor) for group in groups if group.n}
    everything = together(list(each.values()))
    for name, values in zip((factor, "the metric"), everything, strict=True):
        if constant(values):
            return f"{name} has the same value in every run: there is no trend to look for"
    within = {name: stratum for name, stratum in each.items() if np.ptp(stratum[0]) > 0}
    if within and all(constant(values) for _, values in within.values()):
        return f"within the groups that vary {factor}, the metric does not vary"
    return Strata(each, within, tuple(within.values()) or (everything,))


def trend(groups: Sequence[GroupSummary], factor: str, claim: Claim, asked: Test | None = None) -> Finding:
    """Correlate the values of all groups' runs, at least three in all, with a numeric factor of the runs.

    Spearman's ρ and Kendall's τ-b ask only for a monotone relation. Pearson's r, which is asked for or stands
    beside, is that with log₁₀ of the factor where that is positive and spans a factor of ten.

    Args:
        groups: with the factor among those of their runs.
        factor: its name.
        claim: what is asked.
        asked: `spearman`, `pearson` or `kendall`; None: Spearman.
    """
    base = Finding(claim=claim.text, groups=tuple(groups))
    runs = strata(groups, factor)
    if isinstance(runs, str):
        return replace(base, warnings=(runs,))
    base = replace(base, groups=runs.taking_part(groups))
    if sum(len(x) for x, _ in runs.used) < FEWEST:
        return base
    kind = coefficient(asked)
    held, name = hold(runs.used, factor, kind)
    tested = kind.tested(held)
    value = kind.value(held)
    if value is None or tested is None:
        return replace(base, warnings=("too few runs are left to compare within groups",))
    p, _, how = tested
    shape = "the question asks for it; " if asked == "spearman" else ""
    return replace(
        base,
        effect=Effect(f"{name}{runs.place}", value, *(kind.ends(held) or (None, None))),
        standardised=correlated(runs, factor, SPEARMAN if kind is PEARSON else PEARSON),
        p=p,
        test=f"{kind.whose} {kind.test}{runs.place}",
        why=f"{shape}{kind.shape}; {how}, interval by {kind.interval}",
        detectable=power.correlation(held.effective),
        beside=tuple(_beside(factor, runs, kind)),
        warnings=tuple(_warnings(runs, factor, value, kind)),
    )


def hold(used: Sequence[Stratum], factor: str, kind: Coefficient) -> tuple[Held, str]:
    """Runs of several strata as they are correlated, and what the coefficient is then called.

    >>> hold([(np.array([1e-5, 1e-4, 1e-3]), np.array([1.0, 2.0, 3.0]))], "lr", PEARSON)[1]
    "Pearson's r with log10(lr)"
    """
    x, y = together(used)
    name = kind.name
    if not kind.ranks:
        x, told = spaced(x, factor)
        name = f"{name} with {told}"
    codes = np.repeat(np.arange(float(len(used))), [len(part) for part, _ in used])
    return Held(x, y, codes, codes), name


def spaced(x: Floats, factor: str) -> tuple[Floats, str]:
    """A factor as a straight line wants it, and its name: log₁₀ where it is positive and spans a decade."""
    if x.min() > 0 and x.max() / x.min() >= 10 * (1 - 1e-9):
        return np.log10(x), f"log10({factor})"
    return x, factor


def correlated(runs: Strata, factor: str, kind: Coefficient) -> Effect | None:
    """One coefficient with its interval; None where the factor or the value varies in no stratum."""
    held, name = hold(runs.used, factor, kind)
    value = kind.value(held)
    return None if value is None else Effect(f"{name}{runs.place}", value, *(kind.ends(held) or (None, None)))


def together(each: Sequence[Stratum]) -> Stratum:
    """The runs of several strata, one after the other."""
    return np.concatenate([x for x, _ in each]), np.concatenate([y for _, y in each])


def _stratum(group: GroupSummary, factor: str) -> Stratum:
    values = np.array(group.values, float)
    if constant(values):  # what differs by rounding alone has no ranks
        values = np.full_like(values, values[0])
    return np.array([run[factor] for run in group.factors], float), values


def _alone(stratum: Stratum, factor: str, kind: Coefficient) -> float | None:
    """The coefficient of one stratum; None where it has no trend to show."""
    return kind.value(hold([stratum], factor, kind)[0]) if len(stratum[0]) > 2 else None


def _beside(factor: str, runs: Strata, kind: Coefficient) -> list[str]:
    found: list[str] = []
    if len(runs.within) > 1:
        values = {name: _alone(stratum, factor, kind) for name, stratum in runs.within.items()}
        texts = [f"{name} {'–' if value is None else number(value)}" for name, value in values.items()]
        found.append(f"{kind.name} of each group: {listed(texts)}")
    if runs.within and len(runs.each) > 1:
        across = number(_alone(together(list(runs.each.values())), factor, kind) or 0.0)
        found.append(f"{kind.name} over all groups at once, whatever else they differ in: {across}")
        others = [name for name in runs.each if name not in runs.within]
        found += [f"{name} has one {factor} only and takes no part" for name in others]
    return found


def _warnings(runs: Strata, factor: str, value: float, kind: Coefficient) -> list[str]:
    found: list[str] = []
    values = {name: _alone(stratum, factor, kind) for name, stratum in runs.within.items()}
    against = [name for name, own in values.items() if (own or 0.0) * value < 0]
    if against:
        found.append(f"in {listed(against)} the trend runs the other way")
    same = [often for x, _ in runs.used for often in Counter(x.tolist()).values()]
    orders = math.prod(math.factorial(len(x)) for x, _ in runs.used)
    reachable = 2 * math.prod(map(math.factorial, same)) / orders
    if kind.ranks and reachable > ALPHA:
        found.append(f"at these values of the factor even a perfect order gives p = {number(reachable)}")
    return found
