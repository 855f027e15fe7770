"""Answers to a study's questions: each one test over runs, all of them corrected together."""

from collections.abc import Sequence
from dataclasses import replace

from tunescope.results.table import Table
from tunescope.stats.anova import by_anova
from tunescope.stats.claim import Claim, claim
from tunescope.stats.cluster_bootstrap import bootstrap_groups
from tunescope.stats.clusters import at_runs
from tunescope.stats.corrections import NAMES, corrected
from tunescope.stats.depth import by_depth
from tunescope.stats.equivalence import equivalence
from tunescope.stats.finding import Effect, Finding, GroupSummary, Pair
from tunescope.stats.groups import by_kruskal, several_groups
from tunescope.stats.mixed_model import mixed_groups
from tunescope.stats.mixed_trend import mixed_trend
from tunescope.stats.onegroup import one_group
from tunescope.stats.prediction import prediction
from tunescope.stats.ranks import mann_whitney, wilcoxon
from tunescope.stats.relation import relation
from tunescope.stats.samples import Samples, samples
from tunescope.stats.sentence import sentence, too_few
from tunescope.stats.trend import trend
from tunescope.stats.twogroup import FEWEST, two_groups
from tunescope.stats.verdict import Answer, Verdict
from tunescope.stats.words import count
from tunescope.study.question import Correction, Question

__all__ = ["Answer", "Effect", "GroupSummary", "Pair", "Verdict", "answer"]

ALPHA = 0.05


def answer(table: Table, questions: Sequence[Question], correction: Correction = "holm") -> list[Answer]:
    """Answer every question, with one correction over those that have a p-value.

    Args:
        table: the study's runs and rows, ours or anybody's.
        questions: all of the study's, together: the correction counts them.
        correction: Holm's, which keeps any false answer rare, or Benjamini and Hochberg's, which keeps the
            share of false answers small.

    Returns:
        One answer for each question, in order.

    Raises:
        TableError: a question names a metric, group or factor that the table does not have.
    """
    asked = [(question, samples(table, question), claim(question)) for question in questions]
    findings = [_find(question, numbers, wanted) for question, numbers, wanted in asked]
    tested = [finding.p for finding in findings if finding.p is not None]
    p_corrected = iter(corrected(tested, correction))
    return [
        _answer(
            question,
            numbers,
            wanted.unit,
            finding,
            None if finding.p is None else next(p_corrected),
            "" if finding.p is None else f"{NAMES[correction]} over {count(len(tested), 'question')}",
        )
        for (question, numbers, wanted), finding in zip(asked, findings, strict=True)
    ]


def _enough(question: Question, groups: Sequence[GroupSummary]) -> bool:
    if question.by is not None or question.predictors is not None:
        return len({run for group in groups for run in group.runs}) >= FEWEST
    if not question.parted:
        return sum(group.n for group in groups) >= FEWEST
    return all(group.n >= FEWEST for group in groups)


def _find(question: Question, numbers: Samples, wanted: Claim) -> Finding:
    groups = numbers.groups
    if question.nested:
        return _nested(question, groups, wanted)
    if not _enough(question, groups):
        return (
            _shown(groups, wanted, question.keeps if question.than is None else question.than)
            if question.parted
            else Finding(claim=wanted.text, groups=groups)
        )
    if question.against is not None:
        return trend(groups, question.against, wanted, question.test)
    if question.by is not None:
        return relation(groups, question, wanted)
    if question.predictors is not None:
        return prediction(groups, question, wanted)
    if question.by_depth:
        return by_depth(groups, wanted)
    if question.claim == "equal":
        return equivalence(groups, question, wanted)
    if question.than is not None:
        return one_group(groups[0], question.than, wanted)
    if question.test == "kruskal":
        return by_kruskal(groups, wanted)
    if question.test == "anova":
        return by_anova(groups, wanted)
    if len(groups) != 2:
        return several_groups(groups, wanted)
    if question.test == "mann_whitney":
        return mann_whitney(*groups, wanted)
    if question.test == "wilcoxon":
        return wilcoxon(*groups, wanted)
    return two_groups(*groups, wanted, question.test)


def _nested(question: Question, groups: Sequence[GroupSummary], wanted: Claim) -> Finding:
    """Rows whose runs are the replicates; what is shown of a group is then its runs."""
    runs = [at_runs(group) for group in groups]
    if not _enough(question, runs):
        bare = Finding(claim=wanted.text, groups=tuple(runs))
        return _shown(runs, wanted, None) if question.parted else bare
    if question.against is not None:
        return mixed_trend(groups, question.against, wanted)
    return (mixed_groups if question.test == "mixed_model" else bootstrap_groups)(groups, wanted)


def _shown(groups: Sequence[GroupSummary], wanted: Claim, value: float | None) -> Finding:
    """The effect of runs too few to test: no interval either, which would be a test by the back door."""
    effect = None
    means = [*(group.mean for group in groups), *([] if value is None else [value])]
    if len(means) == 2 and means[0] is not None and means[1] is not None:
        effect = Effect("difference", means[0] - means[1], unit=wanted.unit)
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
        text = sentence(question, finding, p_corrected, correction.split(" ")[0], unit, clear)
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
