"""What was found, in one plain sentence."""

from collections.abc import Sequence

from tunescope.stats.equivalence import in_units
from tunescope.stats.finding import Finding, GroupSummary
from tunescope.stats.prediction_words import sentence as of_predictors
from tunescope.stats.relation import said
from tunescope.stats.twogroup import FEWEST
from tunescope.stats.words import count, factors, interval, listed, number, p_value
from tunescope.study.question import Measured, Question

REDUCED = {"mean": "mean", "mean_abs": "mean absolute", "max": "largest", "min": "smallest"}


def sentence(
    question: Question, finding: Finding, p_corrected: float | None, by: str, unit: str, clear: bool
) -> str:
    """One sentence with direction, size, unit, interval, standardised effect, corrected p and number of runs.

    Args:
        question: what was asked.
        finding: what its runs say.
        p_corrected: p after correction; None where nothing was tested.
        by: whose correction it is, such as `Holm`.
        unit: of the values.
        clear: whether the corrected p lets a direction be stated.
    """
    if question.predictors is not None:
        return of_predictors(question, finding, p_corrected, by, clear)
    if question.by is not None:
        head = _relation(question, question.by, finding, clear)
    elif not question.parted:
        head = _trend(question, finding, clear)
    elif question.margin is not None:
        head = _equal(question, finding, unit, clear)
    elif question.than is not None:
        head = _than(question.than, finding, unit, clear)
    elif len(finding.groups) == 2:
        head = " vs ".join(_means(finding.groups, unit))
    else:
        head = _several(finding, unit, clear)
    return f"{head} ({'; '.join(_evidence(question, finding, p_corrected, by))})."


def too_few(question: Question, finding: Finding, unit: str) -> str:
    """The sentence of a question whose groups hold too few runs: the effect is shown, nothing is tested."""
    if not question.parted:
        n = len({run for group in finding.groups for run in group.runs})
        other, kind = (question.against, "trend") if question.by is None else (question.by.metric, "relation")
        both = f"{count(n, 'run')} with both {question.metric} and {other}"
        if question.predictors is not None:
            many = count(len(question.predictors), "number")
            both, kind = f"{count(n, 'run')} with {question.metric} and all {many}", "prediction"
        return f"not enough runs: {both}; a {kind} needs {FEWEST}."
    shown = (" vs " if len(finding.groups) == 2 else ", ").join(_means(finding.groups, unit))
    if finding.effect is not None:
        shown += f" (difference {number(finding.effect.value)})"
    if question.by_depth:
        n = finding.groups[0].n
        return f"not enough runs: {shown}; {count(n, 'run') if n else 'no runs'}, a test needs {FEWEST}."
    thin = [
        f"{group.name} has {group.n or 'no'} run{'' if group.n == 1 else 's'}"
        for group in finding.groups
        if group.n < FEWEST
    ]
    return f"not enough runs: {shown}; {listed(thin)}, a test needs {FEWEST} in each group."


def name(group: GroupSummary) -> str:
    """A group's name, with what `at: best` chose for it.

    >>> name(GroupSummary("lora", 0, None, None, None, (), (), (), {"lr": 0.001}))
    'lora (lr=0.001)'
    """
    return f"{group.name} ({factors(group.chosen)})" if group.chosen else group.name


def _means(groups: Sequence[GroupSummary], unit: str) -> list[str]:
    texts = [f"{name(group)} {'–' if group.mean is None else number(group.mean)}" for group in groups]
    return [*texts[:-1], f"{texts[-1]} {unit}".rstrip()]


def _several(finding: Finding, unit: str, clear: bool) -> str:
    by_name = {group.name: group for group in finding.groups}
    means = []
    for group in (by_name[each] for each in finding.ranking):
        ends = (
            "" if group.low is None or group.high is None else f" [{number(group.low)}, {number(group.high)}]"
        )
        means.append(f"{name(group)} {number(group.mean or 0.0)}{ends}")
    text = f"{', '.join(means)}{f' {unit}' if unit else ''}"
    if finding.p is None:
        return text
    if not clear:
        return f"{text}: no difference between the groups is shown"
    apart = [
        f"{pair.first} from {pair.second}"
        for pair in finding.pairs
        if pair.p_corrected is not None and pair.p_corrected < 0.05
    ]
    if len(apart) == len(finding.pairs):
        return f"{text}: every group differs from every other"
    return f"{text}: the groups differ, {listed(apart) if apart else 'though no single pair does'}"


def _trend(question: Question, finding: Finding, clear: bool) -> str:
    what = f"{REDUCED[question.reduce]} {question.metric}"
    if finding.effect is None or not clear:
        return f"no trend of {what} with {question.against} is shown"
    return f"{what} {'rises' if finding.effect.value > 0 else 'falls'} with {question.against}"


def _equal(question: Question, finding: Finding, unit: str, clear: bool) -> str:
    shown = " vs ".join(_means(finding.groups, unit))
    margin = f"±{number(in_units(question, finding.groups) or 0.0)} {unit}".rstrip()
    if question.share is not None:
        whole = "" if question.keeps is not None else f" of the mean of {finding.groups[-1].name}"
        margin = f"±{number(100 * question.share)} %{whole} ({margin})"
    if question.keeps is not None:
        value = number(question.keeps)
        if not clear:
            return f"{shown}: whether it keeps {value} to within {margin} or not is not shown"
        return f"{shown}: {'keeps' if finding.supports else 'does not keep'} {value} to within {margin}"
    if not clear:
        return f"{shown}: neither shown to be the same to within {margin}, nor to differ by more"
    if finding.supports:
        return f"{shown}: the same to within {margin}"
    return f"{shown}: further apart than {margin}"


def _than(value: float, finding: Finding, unit: str, clear: bool) -> str:
    shown = " ".join(_means(finding.groups, unit))
    if finding.effect is None or not clear:
        return f"{shown}: not shown to differ from {number(value)}"
    return f"{shown}: {'above' if finding.effect.value > 0 else 'below'} {number(value)}"


def _relation(question: Question, by: Measured, finding: Finding, clear: bool) -> str:
    y, x = (f"{REDUCED[each.reduce]} {each.metric}" for each in (question.measured, by))
    if x == y:
        y, x = (f"{y} ({factors(each.where)})" if each.where else y for each in (question.measured, by))
    x = by.name or x
    place = said(question)
    if finding.effect is None:
        return f"no relation of {y} with {x}{place} is shown"
    if question.margin is not None:
        margin = f"±{number(float(question.margin))}"
        if not clear:
            return f"whether {x} predicts {y}{place} beyond {margin} or stays within that is not shown"
        if finding.supports:
            return f"{x} does not predict {y}{place}, to within {margin}"
        return f"{x} predicts {y}{place}, beyond {margin}"
    if clear:
        return f"{y} {'rises' if finding.effect.value > 0 else 'falls'} with {x}{place}"
    least = finding.detectable
    found = "would have been found four times in five"
    known = f": {_article(question)} of {number(least.value)} {found}" if least else ""
    return f"no evidence at this n that {x} predicts {y}{place}{known}"


def _article(question: Question) -> str:
    return {"pearson": "an r", "kendall": "a correlation"}.get(question.test or "", "a rho")


def _evidence(question: Question, finding: Finding, p_corrected: float | None, by: str) -> list[str]:
    parts: list[str] = []
    if finding.effect is not None:
        told = finding.effect if finding.p is None or finding.weighed is None else finding.weighed
        shown = f"{told.name} {number(told.value)}"
        if finding.p is None:
            ends = "exactly, in every run" if told.low == told.high else "not tested"
        else:
            ends = interval(told, "90 %" if told is finding.weighed else "95 %")
        parts.append(f"{shown}, {ends}" if ends else shown)
    elif finding.warnings:
        parts.append(finding.warnings[0])
    if finding.standardised is not None:
        parts.append(f"{finding.standardised.name} {number(finding.standardised.value)}")
    if p_corrected is not None:
        parts.append(f"{by}-corrected {p_value(p_corrected)}")
    parts.append(_size(question, finding))
    return parts


def _size(question: Question, finding: Finding) -> str:
    noun = "runs"
    if question.nested:
        noun = f"runs with all their {question.unit}s"
    elif question.unit != "run":
        runs = {run for group in finding.groups for run in group.runs}
        noun = f"{question.unit}s of {count(len(runs), 'run')}"
    if question.by is not None:
        return count(len({run for group in finding.groups for run in group.runs}), "run")
    if question.by_depth:
        return f"{count(finding.groups[0].n, 'run')}, {finding.pairing}"
    if question.compare is None:
        return f"{sum(group.n for group in finding.groups)} {noun}"
    sizes = f"{' + '.join(str(group.n) for group in finding.groups)} {noun}"
    return f"{sizes}, {finding.pairing}" if finding.pairing else sizes
