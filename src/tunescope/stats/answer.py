"""Answers to a study's questions: each one test over runs, all of them corrected together."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from tunescope.results.table import Table
from tunescope.stats.claim import Claim, claim
from tunescope.stats.corrections import holm
from tunescope.stats.finding import Effect, Finding, GroupSummary, Pair
from tunescope.stats.groups import several_groups
from tunescope.stats.samples import Samples, samples
from tunescope.stats.sentence import sentence, too_few
from tunescope.stats.trend import trend
from tunescope.stats.twogroup import FEWEST, two_groups
from tunescope.stats.words import count, p_value
from tunescope.study.question import Question

__all__ = ["Answer", "Effect", "GroupSummary", "Pair", "Verdict", "answer"]

ALPHA = 0.05
Verdict = Literal["yes", "no", "unclear", "not enough runs"]


@dataclass(frozen=True, kw_only=True)
class Answer(Finding):
    """The answer to one question, with everything that a reader needs to doubt it.

    The fields of `Finding` (claim, groups, effect, standardised, p, test, why, pairing, detectable, ranking,
    pairs, beside, warnings) and:

    Args:
        question: as it was declared.
        sentence: what was found, in one plain sentence with direction, size and unit.
        verdict: about `claim`. `yes`: corrected p < .05 and the effect points the claim's way; `no`:
            corrected p < .05 and the other way; `unclear`: neither; `not enough runs`: no test was made.
        p_corrected: p after `correction`; None where there is no test.
        correction: such as `Holm over 4 questions`; empty where there is no p.
        n: number of runs that were used.
        left_out: cause → number of runs that were asked about and could not be used.
    """

    question: Question
    sentence: str
    verdict: Verdict
    p_corrected: float | None
    correction: str
    n: int
    left_out: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; None where there is no number, never NaN."""
        return asdict(replace(self, question=None)) | {"question": self.question.model_dump(mode="json")}  # pyright: ignore[reportArgumentType]

    def lines(self) -> list[str]:
        """Plain text for a terminal: question, verdict and sentence, test, what was left out, warnings."""
        found = [self.question.ask, f"  {self.verdict}: {self.sentence.removeprefix('not enough runs: ')}"]
        if self.verdict in ("yes", "no"):
            found.append(f"  asked: {self.claim}")
        if self.p is not None:
            found.append(f"  test: {self.test}, {p_value(self.p)} before {self.correction}; {self.why}")
        found += [f"  left out: {count(n, 'run')}, {cause}" for cause, n in self.left_out.items()]
        return found + [f"  note: {warning}" for warning in self.warnings]


def answer(table: Table, questions: Sequence[Question]) -> list[Answer]:
    """Answer every question, with Holm's correction over those that have a p-value.

    Args:
        table: the study's runs and rows, ours or anybody's.
        questions: all of the study's, together: the correction counts them.

    Returns:
        One answer for each question, in order.

    Raises:
        TableError: a question names a metric, group or factor that the table does not have.
    """
    asked = [(question, samples(table, question), claim(question)) for question in questions]
    findings = [_find(question, numbers, wanted) for question, numbers, wanted in asked]
    tested = [finding.p for finding in findings if finding.p is not None]
    corrected = iter(holm(tested))
    return [
        _answer(
            question,
            numbers,
            wanted.unit,
            finding,
            None if finding.p is None else next(corrected),
            f"Holm over {count(len(tested), 'question')}" if finding.p is not None else "",
        )
        for (question, numbers, wanted), finding in zip(asked, findings, strict=True)
    ]


def _enough(question: Question, groups: Sequence[GroupSummary]) -> bool:
    if question.compare is None:
        return sum(group.n for group in groups) >= FEWEST
    return all(group.n >= FEWEST for group in groups)


def _find(question: Question, numbers: Samples, wanted: Claim) -> Finding:
    groups = numbers.groups
    if not _enough(question, groups):
        return _shown(groups, wanted)
    if question.against is not None:
        return trend(groups, question.against, wanted)
    if len(groups) == 2:
        return two_groups(*groups, wanted)
    return several_groups(groups, wanted)


def _shown(groups: Sequence[GroupSummary], wanted: Claim) -> Finding:
    """The effect of runs too few to test: no interval either, which would be a test by the back door."""
    effect = None
    if len(groups) == 2 and groups[0].mean is not None and groups[1].mean is not None:
        effect = Effect("difference", groups[0].mean - groups[1].mean, unit=wanted.unit)
    return Finding(claim=wanted.text, groups=tuple(groups), effect=effect)


def _answer(
    question: Question,
    numbers: Samples,
    unit: str,
    finding: Finding,
    p_corrected: float | None,
    correction: str,
) -> Answer:
    clear = p_corrected is not None and p_corrected < ALPHA
    verdict: Verdict = ("yes" if finding.supports else "no") if clear else "unclear"
    if not _enough(question, finding.groups):
        verdict, text = "not enough runs", too_few(question, finding, unit)
    else:
        text = sentence(question, finding, p_corrected, unit, clear)
    return Answer(
        **vars(replace(finding, warnings=(*numbers.warnings, *finding.warnings))),
        question=question,
        sentence=text,
        verdict=verdict,
        p_corrected=p_corrected,
        correction=correction,
        n=len({run for group in finding.groups for run in group.runs}),
        left_out=numbers.left_out,
    )
