"""What a question asks: which end of its metric is wanted, and what a "yes" would mean."""

from dataclasses import dataclass

from tunescope.results.metric import Metric, declared
from tunescope.stats.words import listed, number
from tunescope.study.question import Question


@dataclass(frozen=True)
class Claim:
    """A question's claim.

    Args:
        text: the claim, in words.
        direction: +1 if the first group is claimed to be higher, −1 lower, 0 if neither end is wanted.
        unit: unit of the values; empty for plain numbers and unknown metrics.
    """

    text: str
    direction: int
    unit: str


def claim(question: Question) -> Claim:
    """The claim of a question; a metric that nobody declared has no unit and no better end.

    `reduce: mean_abs` measures a distance from zero: smaller is closer, whatever the metric. For a change
    against the base model, zero is the pretrained model.

    >>> entropy = {"metric": "attention.entropy.change", "reduce": "mean_abs"}
    >>> claim(Question(ask="Closer?", compare=("lora", "full"), **entropy)).text
    'lora is closer to the pretrained model than full'
    """
    metric = declared().get(question.metric)
    direction = _direction(question, metric)
    unit = "" if metric is None or metric.unit == "1" else metric.unit
    return Claim(_text(question, direction), direction, unit)


def _direction(question: Question, metric: Metric | None) -> int:
    if question.than is not None:
        return {"above": 1, "below": -1}.get(question.claim or "", 0)
    if question.claim == "equal":
        return 0
    if question.reduce == "mean_abs":
        return -1
    if metric is None or metric.better is None:
        return 0
    return 1 if metric.better == "higher" else -1


def _text(question: Question, direction: int) -> str:
    if question.compare is not None and question.margin is not None:
        within = f"to within {_margin(question)}"
        groups = listed(list(question.compare))
        if question.keeps is not None:
            return f"{question.metric} of {groups} is {number(question.keeps)}, {within}"
        return f"{question.metric} is the same for {groups}, {within}"
    if question.by is not None and question.margin is not None:
        x = question.by.name or question.by.metric
        return f"{x} does not predict {question.metric}: |rho| is below {float(question.margin):g}"
    if question.by is not None:
        return f"{question.metric} rises or falls with {question.by.name or question.by.metric}"
    if question.predictors is not None:
        return f"at least one of {len(question.predictors)} numbers predicts {question.metric}"
    if question.by_depth:
        return f"{question.metric} differs between early, middle and late layers"
    if question.compare is None:
        return f"{question.metric} rises or falls with {question.against}"
    if question.than is not None:
        verb = f"is {question.claim}" if question.claim else "differs from"
        return f"{question.metric} of {listed(list(question.compare))} {verb} {number(question.than)}"
    if len(question.compare) > 2 or direction == 0:
        return f"{question.metric} differs between {listed(list(question.compare))}"
    first, second = list(question.compare)
    if question.reduce == "mean_abs":
        changes = question.metric.endswith((".change", ".change_relative"))
        return f"{first} is closer to {'the pretrained model' if changes else 'zero'} than {second}"
    return f"{question.metric} is {'higher' if direction > 0 else 'lower'} for {first} than for {second}"


def _margin(question: Question) -> str:
    if question.share is None:
        return f"±{number(float(question.margin or 0.0))}"
    told = f"±{number(100 * question.share)} %"
    return told if question.keeps is not None else f"{told} of the mean of {(question.compare or ('',))[-1]}"
