"""What a comparison of two settings' heads says, and what it cannot say, in plain sentences."""

from collections.abc import Iterator, Sequence

from tunescope.stats.finding import Effect
from tunescope.stats.head_agreement import PairAgreement
from tunescope.stats.head_comparison import PAIRED, Alike, Comparison, Difference
from tunescope.stats.head_side import UPDATE, Side
from tunescope.stats.headwise import AFTER
from tunescope.stats.twogroup import FEWEST
from tunescope.stats.words import count, interval, listed, number

SHOWN = 8  # heads that a sentence names


def sentences(found: Sequence[Comparison]) -> list[str]:
    """The comparison of two settings in a dozen sentences, the last ones about what it leaves open.

    Args:
        found: of `compare`, at least one: the same two settings by tower, and by head that losses were read
            under.
    """
    lines = [_who(found[0])]
    for tower in dict.fromkeys(each.tower for each in found):
        parts = [each for each in found if each.tower == tower]
        lines.append(f"Heads of the {tower} tower:" if tower else "Heads:")
        for part in parts:
            lines += _importance(part)
        lines += _updates(parts[0])
    return [*lines, *_limits(found[0])]


def _who(found: Comparison) -> str:
    return f"{_runs(found.first)} against {_runs(found.second)}."


def _importance(found: Comparison) -> Iterator[str]:
    under = f"Under the {found.component} head, " if found.component else ""
    for side in (found.first, found.second):
        yield from (f"{under}{line}" for line in _relation(side))
    if found.rho is not None:
        effect = found.rho.effect
        apart = f"{number(abs(effect.value))} {'higher' if effect.value > 0 else 'lower'} in"
        yield (
            f"{under}this rho is {apart if effect.value else 'no different in'} {found.second.setting} than "
            f"in {found.first.setting}{_resting(found.rho)}."
        )
    if (alike := found.alike.get(AFTER)) is not None:
        yield f"{under}{_ranking(found, 'importance after tuning', alike)}"


def _relation(side: Side) -> Iterator[str]:
    relation = side.relation
    if relation is None:
        yield (
            f"{side.setting}: importance and relative update were not both measured (what cannot be folded "
            "into weights has no update), so nothing is said of how they go together."
        )
        return
    what = f"importance {'after' if side.importance == AFTER else 'before'} tuning and relative update"
    if relation.spearman is None:
        yield f"{side.setting}: {what} have no rank correlation, as one of them is the same in all heads."
    else:
        yield (
            f"{side.setting}: Spearman's rho of {what}, over {relation.heads} heads, is "
            f"{_over_runs(relation.spearman, side)}."
        )
    counts, expected = side.counts, side.expected
    shares = [
        f"{number(100 * each.share.value)} % of the {each.k} most important heads are among the {each.k} "
        f"that moved most ({number(100 * each.expected)} % by chance)"
        for each in relation.overlap[:1]
    ]
    if expected is not None and counts:
        shares.append(
            f"{number(counts['important_but_static'].value)} heads a run are important but static and "
            f"{number(counts['plastic_but_unimportant'].value)} plastic but unimportant: "
            f"{number(counts['counter_examples'].value)} counter-examples, where chance alone would give "
            f"{number(expected)}"
        )
    if shares:
        yield f"{side.setting}: {'; '.join(shares)}."


def _updates(found: Comparison) -> Iterator[str]:
    first, second = found.first, found.second
    if found.moved is not None and first.update is not None and second.update is not None:
        change = found.moved.effect.value
        more, less = (second, first) if change > 0 else (first, second)
        further = (
            f"further in {more.setting} than in {less.setting}" if change else "as far in one as in the other"
        )
        yield (
            f"Heads moved {further}: mean relative update {number(first.update.value)} in {first.setting}, "
            f"{number(second.update.value)} in {second.setting}{_resting(found.moved)}."
        )
    for side in (first, second):
        if len(side.projections) > 1:
            parts = ", ".join(f"{name} {number(effect.value)}" for name, effect in side.projections.items())
            yield f"{side.setting}: mean relative update by projection: {parts}."
    if (alike := found.alike.get(UPDATE)) is not None:
        line = _ranking(found, "relative update", alike)
        yield line[0].upper() + line[1:]
        yield (
            f"{len(alike.both)} of the {alike.quarter} heads that moved most are the same in both, by means "
            f"over runs ({number(alike.quarter**2 / alike.heads)} by chance){_named(alike)}."
        )


def _ranking(found: Comparison, what: str, alike: Alike) -> str:
    if alike.between is None:
        return f"how alike the two rank heads by {what} is not known: no seed is shared, or nothing varies."
    own = [
        f"{number(pair.kendall.value)} in {side.setting}"
        for side, pair in ((found.first, alike.first), (found.second, alike.second))
        if pair is not None
    ]
    beside = (
        f"between seeds of one setting it is {listed(own)}" if own else "no setting has two seeds to compare"
    )
    across = alike.between.across
    apart = "" if across is None else f", {number(across.value)} at different seeds"
    return f"Kendall's tau of the two rankings by {what} is {_between(alike.between)}{apart}; {beside}."


def _between(pair: PairAgreement) -> str:
    seeds = [f"mean of {pair.seeds}"] if pair.seeds > 1 else []
    ends = ", ".join([*seeds, *_ends(pair.kendall)])
    return f"{number(pair.kendall.value)} at the same seed{f' ({ends})' if ends else ''}"


def _limits(found: Comparison) -> Iterator[str]:
    sides = (found.first, found.second)
    few = [side.setting for side in sides if len(side.runs) < FEWEST]
    if few:
        yield f"Fewer than three runs of {listed(few)}: what another seed would give cannot be said."
    if any(len(side.seeds) < len(side.runs) for side in sides):
        yield "The table does not say every run's seed: such runs could not be paired."
    yield (
        "Heads of one run are not replicates: an interval over heads says how far a number hangs on which "
        "heads this model has, and only an interval over runs speaks of other seeds."
    )
    yield (
        "No interval here is corrected for how many there are; what decides something is better asked as a "
        "question of the study, before its runs."
    )
    yield (
        "Rank correlations on one model and one set of examples do not show that importance holds a head "
        "still or makes it move, nor what another model or task would show."
    )


def _over_runs(effect: Effect, side: Side) -> str:
    if effect.low is not None:
        return f"{number(effect.value)} ({', '.join([f'mean of {len(side.runs)} runs', *_ends(effect)])})"
    related = [(run.name, run.relation.spearman) for run in side.runs if run.relation is not None]
    each = [(name, own) for name, own in related if own is not None]
    if len(each) == 1:
        ends = [f"{interval(own)}, over heads" for _, own in each if own.low is not None]
        return f"{number(effect.value)} ({', '.join(['one run', *ends])})"
    told = [
        f"{name}: {number(own.value)}{f', {interval(own)}' if own.low is not None else ''}"
        for name, own in each
    ]
    return f"{number(effect.value)} (mean of {len(each)} runs; intervals over heads of {listed(told)})"


def _resting(found: Difference) -> str:
    effect = found.effect
    if effect.low is None or effect.high is None:
        return f" ({found.how})"
    how = "runs paired by seed" if found.how == PAIRED else "runs not paired"
    if effect.low == effect.high:
        return f" ({how}, and the same difference at every seed)" if found.how == PAIRED else f" ({how})"
    sign = "so its sign is open" if effect.low <= 0 <= effect.high else "which leaves zero out"
    return f" (difference {number(effect.value)}, {interval(effect)}, {how}, {sign})"


def _ends(effect: Effect) -> list[str]:
    """An interval in words; nothing where there is none, and no interval of width 0."""
    if effect.low is None:
        return []
    return ["the same in every one"] if effect.low == effect.high else [interval(effect)]


def _runs(side: Side) -> str:
    seeds = f", seeds {', '.join(map(str, side.seeds))}" if side.seeds else ""
    return f"{side.setting} ({count(len(side.runs), 'run')}{seeds})"


def _named(alike: Alike) -> str:
    if not alike.both:
        return ""
    shown = ", ".join(f"{layer}.{head}" for layer, head in alike.both[:SHOWN])
    rest = len(alike.both) - SHOWN
    return f", as layer.head: {shown}{f' and {rest} more' if rest > 0 else ''}"
