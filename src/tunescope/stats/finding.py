"""What a test found, before the study's other questions are heard: effects with intervals, groups, one p."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Factor = float | int | str | None


@dataclass(frozen=True)
class Effect:
    """A number with its 95 % interval; `low` and `high` are None where the runs allow no interval.

    >>> Effect("difference", -0.077, -0.09, -0.06, "nats").unit
    'nats'
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""


@dataclass(frozen=True)
class GroupSummary:
    """One group of runs as it went into an answer.

    Args:
        name: the group's name in the study file.
        n: how many values it brought: one for each run (with `unit: layer`, for each layer of each run).
        mean: their mean; None for an empty group.
        low: lower end of the mean's 95 % t interval; None below two values.
        high: its upper end.
        values: the values, ordered by run factors, so that the same runs always stand in the same order.
        factors: for each value, the factors of its run (`lr`, `seed`, …).
        runs: for each value, the identity of its run.
        chosen: what `at: best` chose for the group, such as `{"lr": 0.001}`; empty otherwise.
        by: for each value, the other number of its run, where a question has `by`; empty otherwise.
        predictors: for each of a question's `predictors`, what `by` is for one number.
    """

    name: str
    n: int
    mean: float | None
    low: float | None
    high: float | None
    values: tuple[float, ...]
    factors: tuple[Mapping[str, Factor], ...]
    runs: tuple[str, ...]
    chosen: Mapping[str, Factor]
    by: tuple[float, ...] = ()
    predictors: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class Pair:
    """One post-hoc comparison of several groups: mean of `first` − mean of `second`.

    `p_corrected` is Holm's over the pairs of the same question, or that of a test of all of them at once, as
    Tukey's is; None where a spread of zero allows no test.
    """

    first: str
    second: str
    difference: Effect
    p: float | None
    p_corrected: float | None


@dataclass(frozen=True)
class Prediction:
    """How well one number of the runs predicts the one that is asked about.

    Args:
        name: what the number is called.
        rho: Spearman's ρ over all runs, nothing held fixed.
        within: mean |ρ| within the groups that say anything; None where none does.
        groups: ρ within each of them.
        given: Spearman's ρ with what the question holds fixed; None where nothing is held, or remains.
        p: of `given`, or of `rho` where nothing is held; all the question's numbers accounted for.
        skill: 1 − Σ(y − ŷ)²/Σ(y − ȳ)², each run predicted from the other groups' runs; 0 is what their mean ȳ
            would do. None where groups cannot be left out.
        ordered: Spearman's ρ of what is so predicted with what came true.
        error: mean |y − ŷ|, in the unit of what is predicted.
    """

    name: str
    rho: Effect
    within: float | None = None
    groups: Mapping[str, float] = field(default_factory=dict)
    given: float | None = None
    p: float | None = None
    skill: float | None = None
    ordered: float | None = None
    error: float | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one question's runs say, by themselves.

    Args:
        claim: what a "yes" would mean, such as `lora is closer to zero than full`.
        groups: the groups of runs, in the question's order.
        effect: the effect in the metric's unit (`difference`, `Spearman rho`, …), value of the first
            group minus that of the second.
        weighed: what a question holds against a margin in the metric's unit, with its 90 % interval.
        standardised: the same as a plain number (`Hedges' g`, `omega squared`, …).
        p: p-value before correction; None where there is no test.
        supports: True if the effect points the way the claim says (always, for claims without a direction).
        test: its name, such as `paired t test`; empty where there is none.
        why: why this test was chosen, in one clause.
        pairing: `paired by seed`, or empty.
        detectable: the smallest standardised effect that so many runs find with 80 % power at α = .05.
        ranking: names of the groups, best first (highest first where neither end is better).
        pairs: post-hoc comparisons of a question with three or more groups.
        predictions: of a question with `predictors`, the largest |ρ| over all runs first.
        lead: of the first of them: its |ρ| less that of the second.
        held: the factors that were held fixed, where a question has `predictors`.
        beside: other readings of the same runs, each a short sentence (a rank test, Cliff's delta, …).
        warnings: what a reader must know before believing the answer.
    """

    claim: str
    groups: tuple[GroupSummary, ...]
    effect: Effect | None = None
    weighed: Effect | None = None
    standardised: Effect | None = None
    p: float | None = None
    supports: bool = True
    test: str = ""
    why: str = ""
    pairing: str = ""
    detectable: Effect | None = None
    ranking: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    lead: Effect | None = None
    held: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
