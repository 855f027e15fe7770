"""Questions are checked before the runs: one that no run could answer is a mistake to mend now."""

from tunescope.errors import StudyError, nearest
from tunescope.probes.probe import probes_of
from tunescope.results.metric import SKIPPED, TRAINING, declared
from tunescope.results.table import FILTERS
from tunescope.study.question import Question
from tunescope.study.study import Study

CHOOSER = "transfer"  # the probe whose validation accuracy `at: best` chooses by


def check_questions(study: Study) -> None:
    """Hold every question against what the study's probes will write and its runs vary.

    Raises:
        StudyError: an unknown metric, column or factor, or a probe that the study does not have.
    """
    probes = probes_of(study)
    there = {metric.name for metric in (*TRAINING, SKIPPED)}
    for probe in probes:
        for metric in probe.metrics:
            there |= {metric.name, *(metric.derive(derived).name for derived in metric.derived)}
    factors = {name for member in study.members() for name in member.factors}
    kinds = {probe.kind for probe in probes}
    for question in study.questions:
        for mistake in _mistakes(question, there, factors, kinds):
            raise StudyError(f"question {question.ask!r}: {mistake}")


def _mistakes(question: Question, there: set[str], factors: set[str], kinds: set[str]) -> list[str]:
    found = []
    if question.metric not in there:
        if question.metric in declared():
            probe = question.metric.split(".", 1)[0]
            found.append(f"metric {question.metric!r} is measured by the probe {probe!r}; add it to 'probes'")
        else:
            found.append(f"unknown metric {question.metric!r}; {nearest(question.metric, there)}")
    for column in question.where:
        if column not in FILTERS:
            found.append(f"'where' has the unknown column {column!r}; {nearest(column, FILTERS)}")
    for factor in (*question.fixed, *([question.against] if question.against else [])):
        if factor not in factors:
            found.append(f"the runs have no factor {factor!r}; {nearest(factor, factors)}")
    if question.at == "best" and CHOOSER not in kinds:
        found.append(f"'at: best' chooses by the probe {CHOOSER!r}; add it to 'probes', or say 'at: all'")
    return found
