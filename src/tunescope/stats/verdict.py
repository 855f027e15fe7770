"""One question's answer: what was found and what it comes to, as it is printed, written and read again."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, Literal, Self

from pydantic import TypeAdapter

from tunescope.stats.finding import Finding
from tunescope.stats.words import count, p_value
from tunescope.study.question import Question

Verdict = Literal["yes", "no", "unclear", "not enough runs"]


@dataclass(frozen=True, kw_only=True)
class Answer(Finding):
    """The answer to one question, with everything that a reader needs to doubt it.

    The fields of `Finding` (claim, groups, effect, standardised, p, test, why, pairing, detectable, ranking,
    pairs, predictions, beside, warnings) and:

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

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The answer that `to_json` wrote; equal to it in every field.

        Raises:
            pydantic.ValidationError: the document is no answer.
        """
        return _adapter(cls).validate_python(document)

    def lines(self) -> list[str]:
        """Plain text for a terminal: question, verdict and sentence, test, what was left out, warnings."""
        found = [self.question.ask, f"  {self.verdict}: {self.sentence.removeprefix('not enough runs: ')}"]
        if self.verdict in ("yes", "no"):
            found.append(f"  asked: {self.claim}")
        if self.p is not None:
            found.append(f"  test: {self.test}, {p_value(self.p)} before {self.correction}; {self.why}")
        found += [f"  {line}" for line in self.beside if self.predictions]
        found += [f"  left out: {count(n, 'run')}, {cause}" for cause, n in self.left_out.items()]
        return found + [f"  note: {warning}" for warning in self.warnings]


@cache
def _adapter(cls: type[Answer]) -> TypeAdapter[Any]:
    return TypeAdapter(cls)
