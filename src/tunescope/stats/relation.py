"""Whether one number of the runs predicts another: Spearman's ρ, with what drives both held fixed.

A learning rate, or a way of tuning, moves nearly everything that is measured, so that any two numbers go
together across runs that differ in it. `given` holds factors fixed: where their values have two runs each or
more on average, by comparing runs of the same values alone, whatever the factor does; else by taking out what
goes with its ranks, which sees rise and fall alone. `within: group` reads the relation in each group.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from tunescope.stats import partial, power
from tunescope.stats.claim import Claim
from tunescope.stats.finding import Effect, Factor, Finding, GroupSummary
from tunescope.stats.intervals import CONSTANT, Floats, constant, spearman_interval
from tunescope.stats.orders import SHUFFLES, counted
from tunescope.stats.partial import Held
from tunescope.stats.twogroup import FEWEST
from tunescope.stats.words import interval, listed, number, p_value
from tunescope.study.question import Question

ALPHA = 0.05


@dataclass(frozen=True)
class Run:
    """One run: its group, the number that may predict, the number that may be predicted, its factors."""

    group: str
    x: float
    y: float
    given: tuple[Factor, ...]
    lr: Factor


def relation(groups: Sequence[GroupSummary], question: Question, claim: Claim) -> Finding:
    """Correlate two numbers of all groups' runs, at least three in all; a run of two groups counts once.

    The effect is Spearman's ρ with what the question holds fixed. p comes from exchanging runs; a question
    with a margin has that of its interval against the margin instead (see `margin_p`). Beside it stand ρ with
    nothing held fixed, ρ over all groups or within them, whichever was not asked for, and each group's.

    Args:
        groups: with `by`.
        question: with `by`.
        claim: what a "yes" would mean.
    """
    assert question.by is not None
    within = question.within == "group"
    if within:  # one run has nothing to be held against
        groups = [group for group in groups if group.n > 1]
    base = Finding(claim=claim.text, groups=tuple(groups))
    runs = _once(groups, question.given)
    if len(runs) < FEWEST:
        return base
    held = hold(runs, within)
    for name, values in ((question.by.metric, held.x), (question.metric, held.y)):
        if constant(values):
            same = f"{name} has the same value in every run: there is no relation to look for"
            return replace(base, warnings=(same,))
    place = said(question)
    rho, tested = partial.rho(held), partial.permuted(held)
    if rho is None or tested is None or held.effective < FEWEST:
        return replace(base, warnings=(f"too few runs are left to compare{place}",))
    p, reachable = tested
    base = replace(
        base,
        effect=_effect(held, question),
        p=p,
        test=f"Spearman's {'partial ' if question.given else ''}rank correlation{place}",
        why=f"the relation need not be straight; {_why(held, question)}",
        detectable=power.correlation(held.effective),
        beside=tuple(_beside(runs, question)),
        warnings=tuple(_warnings(runs, question, rho, reachable)),
    )
    return base if question.margin is None else _against_margin(base, held, question, p)


def margin_p(rho: float, n: int, margin: float) -> tuple[float, float] | None:
    """The p of "|ρ| is below the margin" and that of "|ρ| is above it", by Fisher's z = atanh ρ.

    p = 2·Φ(−|atanh m − atanh |ρ|| / √((1 + ρ²/2)/(n − 3))) on the side where ρ lies, 1 on the other: the
    doubled p of two one-sided tests, below .05 just where the whole 95 % interval lies on its side. Only one
    of the two claims can be wrong, so that looking at both costs nothing. None below four pairs and where
    |ρ| = 1.

    Source: Schuirmann (1987), two one-sided tests; Goeman, Solari & Stijnen (2010), Statistics in Medicine
    29, for the two claims together; the error of z is Bonett & Wright's (2000), Psychometrika 65.

    >>> below, above = margin_p(0.05, 200, 0.3)
    >>> round(below, 5), above
    (0.00027, 1.0)
    """
    if n < 4 or abs(rho) >= 1 - CONSTANT:
        return None
    error = math.sqrt((1 + rho**2 / 2) / (n - 3))
    short = (math.atanh(margin) - math.atanh(abs(rho))) / error
    below, above = (min(1.0, 2 * float(stats.norm.sf(side))) for side in (short, -short))
    return below, above


def hold(runs: Sequence[Run], within: bool, by_ranks: bool = False) -> Held:
    """The runs' numbers, and what is held fixed: each value of the given factors where these have two runs
    or more on average, else texts by their values and numbers by their ranks (always, with `by_ranks`).
    """
    strata = [run.group if within else "" for run in runs]
    numeric = [i for i in range(len(runs[0].given)) if not any(isinstance(run.given[i], str) for run in runs)]
    fine = _codes([(stratum, *run.given) for stratum, run in zip(strata, runs, strict=True)])
    by_levels = not by_ranks and 2 * len(np.unique(fine)) <= len(runs)
    texts = [
        (stratum, *(value for i, value in enumerate(run.given) if i not in numeric))
        for stratum, run in zip(strata, runs, strict=True)
    ]
    return Held(
        x=np.array([run.x for run in runs]),
        y=np.array([run.y for run in runs]),
        strata=_codes(strata),
        cells=fine if by_levels else _codes(texts),
        others=() if by_levels else tuple(np.array([run.given[i] for run in runs], float) for i in numeric),
    )


def said(question: Question) -> str:
    """What is held fixed, in words.

    >>> by = {"metric": "m.x"}
    >>> said(Question(ask="?", metric="m.y", by=by, given=("lr", "rank"), within="group"))
    ' given lr and rank within groups'
    """
    given = f" given {listed(list(question.given))}" if question.given else ""
    return f"{given}{' within groups' if question.within else ''}"


def _once(groups: Sequence[GroupSummary], given: Sequence[str]) -> list[Run]:
    found: dict[str, Run] = {}
    for group in groups:
        x, y = (_level(values) for values in (group.by, group.values))
        for i, (run, factors) in enumerate(zip(group.runs, group.factors, strict=True)):
            facts = tuple(factors[name] for name in given)
            found.setdefault(run, Run(group.name, x[i], y[i], facts, factors.get("lr")))
    return list(found.values())


def _level(values: Sequence[float]) -> Sequence[float]:
    """The values; what differs by rounding alone has no ranks."""
    return [values[0]] * len(values) if values and constant(values) else values


def _codes(labels: Sequence[object]) -> Floats:
    known = {label: float(code) for code, label in enumerate(dict.fromkeys(labels))}
    return np.array([known[label] for label in labels])


def _effect(held: Held, question: Question) -> Effect:
    rho = partial.rho(held)
    assert rho is not None
    # with a margin the verdict is read off the interval: both are by Fisher's z
    ends = partial.interval(held) if question.margin is None else spearman_interval(rho, held.effective)
    return Effect(
        f"Spearman's {'partial ' if question.given else ''}rho{said(question)}", rho, *(ends or (None, None))
    )


def _why(held: Held, question: Question) -> str:
    names = listed(list(question.given)) if question.given else ""
    ways = []
    if question.given:
        ways.append(f"{names} held fixed by {'ranks' if held.others else 'comparing runs of the same value'}")
    orders = "all" if counted(held.sizes) else f"{SHUFFLES:,} random"
    ways.append(f"p from {orders} orders of the runs{' that are compared' if len(held.sizes) > 1 else ''}")
    resampled = partial.bootstraps(held) and question.margin is None
    ways.append(f"interval by {'BCa, 10,000 resamples of the runs' if resampled else 'Bonett and Wright'}")
    return ", ".join(ways)


def _against_margin(found: Finding, held: Held, question: Question, p: float) -> Finding:
    assert found.effect is not None
    assert question.margin is not None
    alone = f"that there is no relation at all: {p_value(p)}, by exchanging runs"
    both = margin_p(found.effect.value, held.effective, question.margin)
    if both is None:
        none = "so few runs, or a perfect order, leave no error to weigh against the margin"
        return replace(found, p=None, test="", why="", warnings=(none, *found.warnings))
    below, above = both
    return replace(
        found,
        p=min(both),
        supports=below <= above,
        test=f"Spearman's rho against ±{number(question.margin)}{said(question)}",
        why="yes where the whole 95 % interval lies within the margin, no where it lies beyond, "
        "by Fisher's z with Bonett and Wright's error",
        beside=(alone, *found.beside),
    )


def _names(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.group for run in runs))


def _each(runs: Sequence[Run]) -> dict[str, float | None]:
    found = {name: [run for run in runs if run.group == name] for name in _names(runs)}
    return {name: partial.rho(hold(own, within=False)) for name, own in found.items() if len(own) > 1}


def _beside(runs: Sequence[Run], question: Question) -> list[str]:
    found: list[str] = []
    within = question.within == "group"
    plain = [replace(run, given=()) for run in runs]
    whole = question.model_copy(update={"given": (), "within": None, "margin": None})
    if question.given or question.within:
        effect = _effect(hold(plain, within=False), whole)
        text = f"Spearman's rho with nothing held fixed: {number(effect.value)}"
        found.append(", ".join(filter(None, [text, interval(effect)])))
    ranked = hold(runs, within, by_ranks=True)
    ranks = partial.rho(ranked) if ranked.others and not hold(runs, within).others else None
    if ranks is not None:
        found.append(f"partial rho given the ranks of {listed(list(question.given))}: {number(ranks)}")
    if len(_names(runs)) > 1:
        other = partial.rho(hold(runs, not within))
        where = "over all groups at once" if within else "within groups"
        found.append(f"{where}: rho {'–' if other is None else number(other)}")
        texts = [f"{name} {'–' if rho is None else number(rho)}" for name, rho in _each(runs).items()]
        found += [f"Spearman's rho of each group: {listed(texts)}"] if texts else []
    return found


def _warnings(runs: Sequence[Run], question: Question, rho: float, reachable: float) -> list[str]:
    found: list[str] = []
    within = question.within == "group"
    if len(_names(runs)) > 1:
        other = partial.rho(hold(runs, not within)) or 0.0
        if other * rho < 0:
            pooled, inside = (other, rho) if within else (rho, other)
            found.append(
                f"rho is {number(pooled)} over all groups at once and {number(inside)} within them: groups "
                "differ in more than these two numbers, and 'within: group' is the one to believe"
            )
        against = [name for name, own in _each(runs).items() if (own or 0.0) * rho < 0]
        if against:
            found.append(f"in {listed(against)} the relation runs the other way")
    if question.given:
        bare = partial.rho(hold([replace(run, given=()) for run in runs], within)) or 0.0
        if bare * rho < 0:
            found.append(f"without {listed(list(question.given))} held fixed, rho is {number(bare)}")
    if "lr" not in question.given and len({run.lr for run in runs}) > 1:
        found.append("the runs differ in lr, which may drive both numbers; 'given: [lr]' holds it fixed")
    if reachable > ALPHA:
        found.append(f"among so few runs that can be compared, no order gives p below {number(reachable)}")
    return found
