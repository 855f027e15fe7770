"""Which of several numbers of the runs predicts another best: overall, within groups, with the learning rate
held fixed, and in groups that were left out.

The four need not agree. Over all runs, a number may follow the groups or the learning rate and nothing else;
within groups, it may be read on another scale in each. The numbers are put in order by |ρ| over all runs, and
the test asks whether any of them predicts at all, what drives both held fixed (`given`; the learning rate
where it varies), all of them counted: the largest of many is large by chance.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tunescope.stats import foretold, max_test, power, resampled
from tunescope.stats.claim import Claim
from tunescope.stats.finding import Effect, Factor, Finding, GroupSummary, Prediction
from tunescope.stats.intervals import CONSTANT, Floats, constant, spearman_interval
from tunescope.stats.orders import SHUFFLES, counted
from tunescope.stats.partial import RUNS_A_CELL, Held
from tunescope.stats.prediction_words import beside, cautions, fixed, of_numbers
from tunescope.stats.relation import Run, hold, level
from tunescope.stats.twogroup import FEWEST
from tunescope.stats.words import listed, number
from tunescope.study.question import Question

ALPHA = 0.05
RHO = "Spearman's rho"


@dataclass(frozen=True)
class _Runs:
    """Each run once, whatever groups it belongs to.

    Args:
        groups: each run's group, the first one.
        y: the number that may be predicted, of shape (n,).
        many: the numbers that may predict, of shape (k, n).
        names: what these are called.
        factors: each run's factors.
    """

    groups: tuple[str, ...]
    y: Floats
    many: Floats
    names: tuple[str, ...]
    factors: tuple[Mapping[str, Factor], ...]

    def strata(self) -> Floats:
        """Groups as codes, where they hold ten runs or more on average; else all runs are of one."""
        _, codes = np.unique(self.groups, return_inverse=True)
        few = len(self.y) < RUNS_A_CELL * (codes.max() + 1)
        return np.zeros(len(self.y)) if few else codes.astype(float)


def prediction(groups: Sequence[GroupSummary], question: Question, claim: Claim) -> Finding:
    """Hold several numbers of the runs against one, three runs or more; a run of two groups counts once.

    The effect is the largest |ρ| over all runs, with its sign. p is that of "none of these numbers predicts",
    by exchanging runs with what drives both held fixed; each number's own p accounts for the others. That the
    first predicts better than the second is another matter, which `lead` tells: its interval holds for the
    first and second that were seen, since the two that come closest are seldom further apart than two chosen
    beforehand would be.

    Args:
        groups: with `predictors`.
        question: with `predictors`.
        claim: what a "yes" would mean.

    Source: Westfall & Young (1993), Resampling-Based Multiple Testing; Hung & Fithian (2019), Annals of
    Statistics 47, for the first against the second.
    """
    base = Finding(claim=claim.text, groups=tuple(groups))
    runs = _once(groups, [each.called for each in question.predictors or ()])
    if len(runs.y) < FEWEST:
        return base
    if constant(runs.y):
        same = f"{question.metric} has the same value in every run: there is nothing to predict"
        return replace(base, warnings=(same,))
    runs, notes = _varying(runs)
    if not runs.names:
        return replace(base, warnings=tuple(notes))
    given = _given(runs, question, notes)
    held = _held(runs, given)
    found, lead = _described(runs)
    rho, by_chance, all_orders = max_test.null(runs.many, held)
    untested = held.effective < FEWEST or np.isnan(rho).all()
    if untested:
        notes.append(f"too few runs are left to compare{fixed(given)}")
    else:
        found = _tested(found, runs.names, rho if given else None, np.abs(rho), by_chance, all_orders)
        notes += _out_of_reach(by_chance, all_orders)
    shown = replace(
        base,
        claim=f"{claim.text}{fixed(given)}",
        effect=replace(found[0].rho, name=f"{RHO} of {found[0].name}"),
        ranking=tuple(each.name for each in found),
        predictions=found,
        lead=lead,
        held=given,
        beside=tuple(beside(found, given, claim.unit)),
        warnings=(*notes, *cautions(found, given)),
    )
    return (
        shown
        if untested
        else replace(
            shown,
            p=min(each.p for each in found if each.p is not None),
            test=f"permutation test of the largest |rho| of {of_numbers(found)}{fixed(given)}",
            why=_why(runs, held, given),
            detectable=power.correlation(held.effective, len(found)),
        )
    )


def _once(groups: Sequence[GroupSummary], names: Sequence[str]) -> _Runs:
    found: dict[str, tuple[str, float, list[float], Mapping[str, Factor]]] = {}
    for group in groups:
        y, *many = (level(values) for values in (group.values, *group.predictors))
        for i, run in enumerate(group.runs):
            found.setdefault(run, (group.name, y[i], [x[i] for x in many], group.factors[i]))
    own, y, many, factors = zip(*found.values(), strict=True) if found else ((), (), (), ())
    return _Runs(own, np.array(y), np.array(many).T, tuple(names), factors)


def _varying(runs: _Runs) -> tuple[_Runs, list[str]]:
    stay = [not constant(values) for values in runs.many]
    still = [name for name, varies in zip(runs.names, stay, strict=True) if not varies]
    names = tuple(name for name in runs.names if name not in still)
    notes = (
        [f"{listed(still)}: the same value in every run, which predicts nothing; left out"] if still else []
    )
    return replace(runs, many=runs.many[stay], names=names), notes


def _given(runs: _Runs, question: Question, notes: list[str]) -> tuple[str, ...]:
    """What is held fixed: as asked, or the learning rate where it varies."""
    if question.given:
        return question.given
    rates = [factors.get("lr") for factors in runs.factors]
    if len(set(rates)) == 1:
        return ()
    if any(rate is None for rate in rates):
        notes.append("the runs differ in lr, which some of them do not tell, so that it is not held fixed")
        return ()
    return ("lr",)


def _held(runs: _Runs, given: Sequence[str]) -> Held:
    facts = [tuple(factors[name] for name in given) for factors in runs.factors]
    each = zip(runs.groups, runs.y.tolist(), facts, strict=True)
    return hold([Run(group, y, y, own, None) for group, y, own in each], within=False)


def _described(runs: _Runs) -> tuple[tuple[Prediction, ...], Effect | None]:
    """Everything but the test, the largest |ρ| first, and by how much the first leads."""
    rho = resampled.rhos(runs.many, runs.y, np.ones((1, len(runs.y))))[0].round(12)
    order = np.argsort(-np.abs(rho), kind="stable")
    rho, many = rho[order], runs.many[order]
    spread = _Spread(many, runs.y, runs.strata()) if len(runs.y) >= RUNS_A_CELL else None
    found: list[Prediction] = []
    for place, value in enumerate(rho.tolist()):
        ends = spearman_interval(value, len(runs.y)) if spread is None else spread.of(place, value)
        effect = Effect(RHO, value) if ends is None else Effect(RHO, value, *ends)
        found.append(_read(runs.names[order[place]], effect, many[place], runs))
    if len(found) == 1:
        return tuple(found), None
    lead = Effect(f"lead over {found[1].name}", float(abs(rho[0]) - abs(rho[1])))
    ends = None if spread is None else spread.of_lead(lead.value)
    return tuple(found), lead if ends is None else replace(lead, low=ends[0], high=ends[1])


class _Spread:
    """How ρ of each number varies with the runs, drawn anew and left out one by one."""

    def __init__(self, many: Floats, y: Floats, strata: Floats):
        self.strata = strata
        self.drawn = resampled.rhos(many, y, resampled.resamples(strata))
        self.without = resampled.rhos(many, y, 1 - np.eye(len(y)))

    def of(self, place: int, value: float) -> tuple[float, float] | None:
        """The interval of one ρ; a perfect order says nothing about its own error."""
        if abs(value) >= 1 - CONSTANT:
            return None
        return resampled.bca_ends(value, self.drawn[:, place], self.without[:, place], self.strata)

    def of_lead(self, value: float) -> tuple[float, float] | None:
        """The interval of the first |ρ| less the second."""
        drawn, without = (np.abs(each[:, 0]) - np.abs(each[:, 1]) for each in (self.drawn, self.without))
        return resampled.bca_ends(value, drawn, without, self.strata)


def _read(name: str, rho: Effect, x: Floats, runs: _Runs) -> Prediction:
    own: dict[str, float] = {}
    for group in dict.fromkeys(runs.groups):
        mine = np.array([each == group for each in runs.groups])
        if mine.sum() >= FEWEST and not (constant(x[mine]) or constant(runs.y[mine])):
            own[group] = float(resampled.rhos(x[None, mine], runs.y[mine], np.ones((1, mine.sum())))[0, 0])
    others = foretold.by_the_others(x, runs.y, runs.groups)
    return Prediction(
        name=name,
        rho=rho,
        within=math.fsum(map(abs, own.values())) / len(own) if own else None,
        groups=own,
        skill=None if others is None else others.skill,
        ordered=None if others is None else others.ordered,
        error=None if others is None else others.error,
    )


def _tested(
    found: Sequence[Prediction],
    names: Sequence[str],
    given: Floats | None,
    seen: Floats,
    by_chance: Floats,
    all_orders: bool,
) -> tuple[Prediction, ...]:
    p = dict(zip(names, max_test.stepped_down(seen, by_chance, all_orders).tolist(), strict=True))
    rho = {} if given is None else dict(zip(names, given.tolist(), strict=True))
    known = {name: value for name, value in rho.items() if not math.isnan(value)}
    return tuple(replace(each, given=known.get(each.name), p=p[each.name]) for each in found)


def _out_of_reach(by_chance: Floats, all_orders: bool) -> list[str]:
    largest = by_chance.max(1)
    reachable = float(np.mean(largest >= largest.max() - CONSTANT)) if all_orders else 0.0
    return [f"among so few runs no order gives p below {number(reachable)}"] if reachable > ALPHA else []


def _why(runs: _Runs, held: Held, given: Sequence[str]) -> str:
    ways = ["the largest of several is large by chance, and all are counted (Westfall and Young)"]
    if given:
        how = "ranks" if held.others else "comparing runs of the same value"
        ways.append(f"{listed(list(given))} held fixed by {how}")
    orders = "all" if counted(held.sizes) else f"{SHUFFLES:,} random"
    ways.append(f"p from {orders} orders of the runs{' that are compared' if len(held.sizes) > 1 else ''}")
    if len(runs.y) < RUNS_A_CELL:
        ways.append("intervals by Bonett and Wright")
    else:
        groups = " of each group" if runs.strata().any() else ""
        ways.append(f"intervals by BCa, 10,000 resamples of the runs{groups}")
    return ", ".join(ways)
