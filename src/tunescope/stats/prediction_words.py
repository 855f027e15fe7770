"""Which number predicts another best, in words."""

from collections.abc import Sequence

from tunescope.stats.finding import Effect, Finding, Prediction
from tunescope.stats.words import count, interval, listed, number, p_value
from tunescope.study.question import Question

ALPHA = 0.05


def of_numbers(found: Sequence[Prediction]) -> str:
    """How many numbers, in words.

    >>> of_numbers([])
    '0 numbers'
    """
    return count(len(found), "number")


def fixed(given: Sequence[str]) -> str:
    """What is held fixed, in words.

    >>> fixed(["lr", "rank"]), fixed([])
    (' given lr and rank', '')
    """
    return f" given {listed(list(given))}" if given else ""


def leaders(found: Sequence[Prediction], given: Sequence[str]) -> dict[str, list[str]]:
    """Who comes first by every reading but the one that they stand in the order of: name → where."""
    readings = {
        "within groups": [each.within for each in found],
        fixed(given).lstrip(): [None if each.given is None else abs(each.given) for each in found],
        "in groups left out": [each.skill for each in found],
    }
    first: dict[str, list[str]] = {}
    for place, values in readings.items():
        known = [(value, -i) for i, value in enumerate(values) if value is not None]
        if known:
            first.setdefault(found[-max(known)[1]].name, []).append(place)
    return first


def beside(found: Sequence[Prediction], given: Sequence[str], unit: str) -> list[str]:
    """Each number in one line, in order."""
    return [_line(each, given, unit) for each in found]


def cautions(found: Sequence[Prediction], given: Sequence[str]) -> list[str]:
    """What a reader of "the best" must know of it."""
    first, notes = found[0], []
    if first.given is not None and first.given * first.rho.value < 0:
        both = f"{number(first.rho.value)} over all runs and {number(first.given)}{fixed(given)}"
        notes.append(f"{first.name}: rho is {both}")
    other_way = [group for group, rho in first.groups.items() if rho * first.rho.value < 0]
    if other_way:
        notes.append(f"{first.name}: in {listed(other_way)} the relation runs the other way")
    if first.skill is not None and first.skill <= 0:
        notes.append(
            f"{first.name}: a group that is left out is foretold no better than by the mean of the others"
        )
    return notes


def sentence(question: Question, finding: Finding, p_corrected: float | None, by: str, clear: bool) -> str:
    """Which number predicts best, how well, whether it is told apart from the next, and who else comes first.

    Args:
        question: with `predictors`.
        finding: what its runs say.
        p_corrected: p after correction; None where nothing was tested.
        by: whose correction it is, such as `Holm`.
        clear: whether the corrected p lets it be said that any of them predicts.
    """
    y, found = question.measured.called, finding.predictions
    size = count(len({run for group in finding.groups for run in group.runs}), "run")
    if not found:
        return f"nothing that could predict {y} is shown ({'; '.join([*finding.warnings[:1], size])})."
    first, given = found[0], fixed(finding.held)
    rho = ", ".join(filter(None, [f"Spearman's rho {number(first.rho.value)}", interval(first.rho)]))
    tested = (
        "" if p_corrected is None else f"{by}-corrected {p_value(p_corrected)} that any predicts it{given}; "
    )
    end = f"({tested}{size})."
    if p_corrected is None:
        return f"{first.name} goes with {y} most of {of_numbers(found)} ({rho}), which is not tested {end}"
    if not clear:
        least = finding.detectable
        known = f": a rho of {number(least.value)} would have been found four times in five" if least else ""
        none = f"no evidence at this n that any of {of_numbers(found)} predicts {y}{given}{known}"
        return f"{none}; {first.name} comes closest over all runs ({rho}) {end}"
    sure = _sure(finding, p_corrected)
    if first.name in sure:
        # "best" is a claim of its own
        place = "" if finding.lead is None else f" best of {of_numbers(found)}"
        if finding.lead is not None and not _told_apart(finding.lead):
            place = f", first of {of_numbers(found)}"
        parts = [f"{first.name} predicts {y}{place} ({rho}){_apart(finding)}"]
    else:
        are = f"{listed(sure)} {'is' if len(sure) == 1 else 'are'}"
        parts = [
            f"{first.name} goes with {y} most of {of_numbers(found)} ({rho}){_apart(finding)}",
            f"{given.strip()}, {are} shown to predict it and {first.name} is not",
        ]
    return f"{'; '.join([*parts, *_elsewhere(finding)])} {end}"


def _sure(finding: Finding, p_corrected: float) -> list[str]:
    """The numbers that are shown to predict, the study's other questions counted."""
    assert finding.p is not None
    factor = p_corrected / finding.p
    return [each.name for each in finding.predictions if each.p is not None and each.p * factor < ALPHA]


def _told_apart(lead: Effect) -> bool:
    return lead.low is not None and lead.low > 0


def _apart(finding: Finding) -> str:
    lead = finding.lead
    if lead is None:
        return ""
    second = finding.predictions[1]
    size = f"|rho| {number(abs(second.rho.value))}"
    if lead.low is None or lead.high is None:
        return f", before {second.name} ({size}; too little to tell the two apart)"
    told = "ahead of" if _told_apart(lead) else "not told apart from"
    return f", {told} {second.name} ({size}; difference {number(lead.value)}, {interval(lead)})"


def _elsewhere(finding: Finding) -> list[str]:
    first = finding.predictions[0].name
    found = leaders(finding.predictions, finding.held)
    texts: list[str] = []
    for name in sorted(found, key=lambda name: name != first):
        comes = "" if texts else " also comes first" if name == first else " comes first"
        texts.append(f"{name}{comes} {listed(found[name])}")
    return [", ".join(texts)] if texts else []


def _line(found: Prediction, given: Sequence[str], unit: str) -> str:
    parts = [" ".join(filter(None, [f"rho {number(found.rho.value)}", _in_brackets(interval(found.rho))]))]
    if given:
        held = "–" if found.given is None else number(found.given)
        parts.append(f"{fixed(given).lstrip()} {held}")
    if found.p is not None:
        parts.append(f"adjusted {p_value(found.p)}")
    if found.within is not None:
        own = ", ".join(f"{name} {number(rho)}" for name, rho in found.groups.items())
        parts.append(f"mean |rho| within groups {number(found.within)} ({own})")
    if found.error is not None:
        known = {"skill": found.skill, "rho": found.ordered}
        texts = [f"{name} {number(value)}" for name, value in known.items() if value is not None]
        parts.append(
            f"in groups left out {', '.join([*texts, f'off by {number(found.error)} {unit}'.rstrip()])}"
        )
    return f"{found.name}: {'; '.join(parts)}"


def _in_brackets(text: str) -> str:
    return f"({text})" if text else ""
