"""Whether one number of the runs predicts another: a correlation, with what drives both held fixed.

A learning rate, or a way of tuning, moves nearly everything that is measured, so that any two numbers go
together across runs that differ in it. `given` holds factors fixed: where their values have two runs each or
more on average, by comparing runs of the same values alone, whatever the factor does; else by taking out what
goes with its ranks, which sees rise and fall alone (with Pearson's r: with a straight line). `within: group`
reads the relation in each group.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tunescope.stats import partial, power
from tunescope.stats.claim import Claim
from tunescope.stats.coefficient import SPEARMAN, Coefficient, coefficient
from tunescope.stats.finding import Effect, Factor, Finding, GroupSummary
from tunescope.stats.intervals import Floats, constant
from tunescope.stats.no_relation import against_margin
from tunescope.stats.partial import Held
from tunescope.stats.trend import spaced
from tunescope.stats.twogroup import FEWEST
from tunescope.stats.words import interval, listed, number
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

    The effect is Spearman's ρ, or the correlation that is asked for, with what the question holds fixed. p
    comes from exchanging runs, that of Pearson's r from t; a question with a margin has that of its interval
    against the margin instead (see `margin_p`). Beside it stand the correlation with nothing held fixed, the
    one over all groups or within them, whichever was not asked for, and each group's.

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
    kind = coefficient(question.test)
    value, tested = kind.value(held), kind.tested(held)
    if value is None or tested is None or held.effective < FEWEST:
        return replace(base, warnings=(f"too few runs are left to compare{place}",))
    p, reachable, how = tested
    shape = "the question asks for it; " if question.test == "spearman" else ""
    base = replace(
        base,
        effect=_effect(held, question),
        p=p,
        test=f"{kind.whose} {'partial ' if question.given else ''}{kind.test}{place}",
        why=f"{shape}{kind.shape}; {_why(held, question, how)}",
        detectable=power.correlation(held.effective),
        beside=tuple(_beside(runs, question)),
        warnings=tuple(_warnings(runs, question, value, reachable)),
    )
    if question.margin is None:
        return base
    return against_margin(base, held.effective, float(question.margin), place)


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
        others=()
        if by_levels
        else tuple(spaced(np.array([run.given[i] for run in runs], float), "")[0] for i in numeric),
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
        x, y = (level(values) for values in (group.by, group.values))
        for i, (run, factors) in enumerate(zip(group.runs, group.factors, strict=True)):
            facts = tuple(factors[name] for name in given)
            found.setdefault(run, Run(group.name, x[i], y[i], facts, factors.get("lr")))
    return list(found.values())


def level(values: Sequence[float]) -> Sequence[float]:
    """The values; what differs by rounding alone has no ranks."""
    return [values[0]] * len(values) if values and constant(values) else values


def _codes(labels: Sequence[object]) -> Floats:
    known = {label: float(code) for code, label in enumerate(dict.fromkeys(labels))}
    return np.array([known[label] for label in labels])


def _effect(held: Held, question: Question) -> Effect:
    kind = coefficient(question.test)
    value = kind.value(held)
    assert value is not None
    # with a margin the verdict is read off the interval: both are by Fisher's z
    ends = partial.interval(held) if _resampled(held, question) else kind.ends(held)
    name = f"{kind.whose} {'partial ' if question.given else ''}{kind.letter}{said(question)}"
    return Effect(name, value, *(ends or (None, None)))


def _resampled(held: Held, question: Question) -> bool:
    return coefficient(question.test) is SPEARMAN and question.margin is None and partial.bootstraps(held)


def _why(held: Held, question: Question, how: str) -> str:
    kind = coefficient(question.test)
    ways = [how]
    if question.given:
        by = (
            ("ranks" if kind.ranks else "straight lines")
            if held.others
            else "comparing runs of the same value"
        )
        ways.insert(0, f"{listed(list(question.given))} held fixed by {by}")
    by = "BCa, 10,000 resamples of the runs" if _resampled(held, question) else kind.interval
    return ", ".join([*ways, f"interval by {by}"])


def _names(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.group for run in runs))


def _each(runs: Sequence[Run], kind: Coefficient) -> dict[str, float | None]:
    found = {name: [run for run in runs if run.group == name] for name in _names(runs)}
    return {name: kind.value(hold(own, within=False)) for name, own in found.items() if len(own) > 1}


def _beside(runs: Sequence[Run], question: Question) -> list[str]:
    found: list[str] = []
    within = question.within == "group"
    kind = coefficient(question.test)
    plain = [replace(run, given=()) for run in runs]
    whole = question.model_copy(update={"given": (), "within": None, "margin": None})
    if question.given or question.within:
        effect = _effect(hold(plain, within=False), whole)
        text = f"{kind.name} with nothing held fixed: {number(effect.value)}"
        found.append(", ".join(filter(None, [text, interval(effect)])))
    ranked = hold(runs, within, by_ranks=True)
    ranks = kind.value(ranked) if ranked.others and not hold(runs, within).others else None
    if ranks is not None:
        what = f"given {'the ranks of' if kind.ranks else 'straight lines in'} {listed(list(question.given))}"
        found.append(f"partial {kind.letter} {what}: {number(ranks)}")
    if len(_names(runs)) > 1:
        other = kind.value(hold(runs, not within))
        where = "over all groups at once" if within else "within groups"
        found.append(f"{where}: {kind.letter} {'–' if other is None else number(other)}")
        texts = [f"{name} {'–' if own is None else number(own)}" for name, own in _each(runs, kind).items()]
        found += [f"{kind.name} of each group: {listed(texts)}"] if texts else []
    return found


def _warnings(runs: Sequence[Run], question: Question, value: float, reachable: float) -> list[str]:
    found: list[str] = []
    within = question.within == "group"
    kind = coefficient(question.test)
    if len(_names(runs)) > 1:
        other = kind.value(hold(runs, not within)) or 0.0
        if other * value < 0:
            pooled, inside = (other, value) if within else (value, other)
            found.append(
                f"{kind.letter} is {number(pooled)} over all groups at once and {number(inside)} within "
                "them: groups differ in more than these two numbers; 'within: group' is the one to believe"
            )
        against = [name for name, own in _each(runs, kind).items() if (own or 0.0) * value < 0]
        if against:
            found.append(f"in {listed(against)} the relation runs the other way")
    if question.given:
        bare = kind.value(hold([replace(run, given=()) for run in runs], within)) or 0.0
        if bare * value < 0:
            found.append(
                f"without {listed(list(question.given))} held fixed, {kind.letter} is {number(bare)}"
            )
    if "lr" not in question.given and len({run.lr for run in runs}) > 1:
        found.append("the runs differ in lr, which may drive both numbers; 'given: [lr]' holds it fixed")
    if reachable > ALPHA:
        found.append(f"among so few runs that can be compared, no order gives p below {number(reachable)}")
    return found
