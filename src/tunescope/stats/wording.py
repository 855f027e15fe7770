"""The words of a question that says none: what its claim is."""

from tunescope.stats.claim import claim
from tunescope.stats.words import factors
from tunescope.study.question import Question


def worded(question: Question) -> Question:
    """The question, asked in the words of its claim where it has none of its own.

    >>> worded(Question(ask="", metric="accuracy", compare=("lora", "full"))).ask
    'accuracy differs between lora and full?'
    """
    if question.ask:
        return question
    chosen = factors(dict(question.where)) if question.where else ""
    return question.model_copy(update={"ask": f"{claim(question).text}{f', {chosen}' if chosen else ''}?"})
