"""Questions are declared before the runs, so that the answers are not fished for."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from tunescope.study.chosen_test import NESTED, Test, Unit, refusal
from tunescope.study.margin import Margin, share
from tunescope.study.spec import Spec

Reduce = Literal["mean", "mean_abs", "max", "min"]
Correction = Literal["holm", "benjamini_hochberg"]
REDUCED: dict[Reduce, str] = {"mean": "", "mean_abs": "mean absolute ", "max": "largest ", "min": "smallest "}


class Measured(Spec):
    """One number of each run: `reduce` over the rows of `metric` that `where` lets through (globs on the
    table's columns, such as `split: "shift:*"`). `name` is what sentences and charts call it.
    """

    metric: str
    where: dict[str, str] = Field(default_factory=dict)
    reduce: Reduce = "mean"
    name: Annotated[str, Field(min_length=1, max_length=80)] | None = None

    @property
    def called(self) -> str:
        """Its name; without one, what was said of it.

        >>> Measured(metric="heads.gini", reduce="mean_abs", where={"layer": "11", "step": "first"}).called
        'mean absolute heads.gini (layer 11, first look)'
        """
        if self.name is not None:
            return self.name
        words = {("step", "first"): "first look", ("step", "last"): "last look"}
        words |= {("layer", ""): "final features"}
        chosen = ", ".join(words.get(item, " ".join(item)) for item in self.where.items())
        return f"{REDUCED[self.reduce]}{self.metric}{f' ({chosen})' if chosen else ''}"

    def same(self, other: "Measured") -> bool:
        """Whether both are one number, whatever they are called."""
        return self.model_copy(update={"name": None}) == other.model_copy(update={"name": None})


class Question(Spec):
    """One question to the table. Each run gives one number, as `Measured` says; tests compare runs.

    Groups of runs are compared (`compare`; one group with a value, `than`), or the number is held against a
    numeric factor of the runs (`against: lr`), or against another number of the same runs, which may predict
    it (`by`), or several of them, to see which predicts it best (`predictors`). With `by_depth` the early,
    middle and late thirds of each run's layers are compared, within the runs.

    With `by`, what drives both can be held fixed: factors of the runs (`given: [lr]`), the groups
    (`within: group`). `claim: none` with a `margin` claims that nothing is predicted, or too little to
    matter: that |ρ| is smaller than the margin. Without it, a large p shows nothing of the kind.

    With `compare`, `claim: equal` claims that two groups are the same to within ± `margin`, in the metric's
    unit, or to within a share such as `10%` of the second group's mean; or that one group keeps a value, such
    as `keeps: 1.0` of a retention; `claim: below` or `above`, on which side of `than` it is.

    `test` asks for another test than the one that the runs themselves call for: two groups with the same
    seeds get the paired t test, others Welch's, three and more Welch's analysis of variance; with `against`
    and `by` it names the correlation, else Spearman's.

    With `unit: layer` or `unit: head` each run gives as many numbers as it has of them. They are no
    replicates: `test: mixed_model` and `test: cluster_bootstrap` know which belong to one run.

    With `at: best`, each group is first narrowed to its learning rate with the best validation
    accuracy (mean over seeds); test data has no say. With `at: {lr: 1e-3}`, or `at: {data: glue/rte}`, to the
    runs whose factors have these values.
    """

    ask: str
    metric: str
    where: dict[str, str] = Field(default_factory=dict)
    reduce: Reduce = "mean"
    compare: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    test: Test | None = None
    against: str | None = None
    by: Measured | None = None
    predictors: Annotated[tuple[Measured, ...], Field(min_length=2)] | None = None
    by_depth: bool = False
    given: tuple[str, ...] = ()  # factors that are held fixed, with `by` and `predictors`
    within: Literal["group"] | None = None
    claim: Literal["none", "equal", "above", "below"] | None = None
    margin: Margin | None = None
    keeps: Annotated[float, Field(allow_inf_nan=False)] | None = None  # the value that one group keeps
    than: Annotated[float, Field(allow_inf_nan=False)] | None = None  # the value that one group differs from
    among: tuple[str, ...] = ()  # groups to use, where none are compared; empty = all
    at: Literal["all", "best"] | dict[str, float | str] = "all"
    unit: Unit = "run"

    @property
    def measured(self) -> Measured:
        """The number that is asked about."""
        return Measured(metric=self.metric, where=self.where, reduce=self.reduce)

    @property
    def numbers(self) -> tuple[Measured, ...]:
        """The number that is asked about, and those that it is held against."""
        return (self.measured, *(self.predictors or ()), *(() if self.by is None else (self.by,)))

    @property
    def held(self) -> tuple[str, ...]:
        """The factors that a run must have a value of."""
        return self.given if self.against is None else (self.against,)

    @property
    def parted(self) -> bool:
        """Whether means are compared: of groups of runs, or of parts of each run."""
        return self.compare is not None or self.by_depth

    @property
    def nested(self) -> bool:
        """Whether the test knows which layers or heads belong to one run."""
        return self.test in NESTED

    @property
    def share(self) -> float | None:
        """The margin as a share of a mean, where it is in per cent."""
        return share(self.margin)

    @property
    def fixed(self) -> dict[str, float | str]:
        """The factors whose values `at` gives; empty for `all` and `best`."""
        return self.at if isinstance(self.at, dict) else {}

    @field_validator("at", mode="before")
    @classmethod
    def _all_best_or_factors(cls, at: object) -> object:
        if at not in ("all", "best") and not isinstance(at, dict):
            raise ValueError(f"expected 'all', 'best' or factors such as {{lr: 1e-3}}, got {at!r}")
        return at

    @model_validator(mode="after")
    def _groups_once(self):
        for name, groups in (("compare", self.compare or ()), ("among", self.among)):
            for group in groups:
                if groups.count(group) > 1:
                    raise ValueError(f"{name!r} names the group {group!r} twice; name it once")
        return self

    @model_validator(mode="after")
    def _one_kind(self):
        kinds = (self.compare, self.against, self.by, self.predictors)
        if sum(kind is not None for kind in kinds) + self.by_depth != 1:
            raise ValueError(
                "a question has exactly one of 'compare' (groups of runs), 'against' (a factor), 'by' "
                "(another number of the same runs), 'predictors' (several of them) and 'by_depth' (early, "
                "middle and late layers)"
            )
        if self.by_depth and self.unit != "run":
            raise ValueError(f"'by_depth' compares thirds of layers within runs; drop 'unit: {self.unit}'")
        if self.among and self.compare is not None:
            raise ValueError(
                "'among' goes with 'against', 'by', 'predictors' and 'by_depth'; with 'compare' the groups "
                "are named there"
            )
        if self.compare is not None and len(self.compare) == 1 and self.keeps is None and self.than is None:
            raise ValueError("'compare' needs two groups; one is held against a value with 'than' or 'keeps'")
        if self.than is not None and (len(self.compare or ()) != 1 or self.claim in ("none", "equal")):
            raise ValueError(
                "'than' goes with 'compare' of one group, which may be claimed to be 'above' or 'below'; "
                "'keeps' claims that it is equal"
            )
        if self.claim in ("above", "below") and self.than is None:
            raise ValueError(
                f"'claim: {self.claim}' goes with 'than', the value that one group is held against"
            )
        return self

    @model_validator(mode="after")
    def _what_goes_with_by(self):
        if self.within and self.by is None:
            raise ValueError("'within' goes with 'by', another number of the same runs")
        if self.given and self.by is None and self.predictors is None:
            raise ValueError("'given' goes with 'by' and 'predictors', other numbers of the same runs")
        if self.by is not None and self.by.same(self.measured):
            raise ValueError("'by' is the number that is asked about: it predicts itself")
        if self.by is not None and self.unit != "run":
            raise ValueError(f"'by' holds numbers of runs against each other; drop 'unit: {self.unit}'")
        return self

    @model_validator(mode="after")
    def _predictors_are_several(self):
        names: dict[str, int] = {}
        for place, number in enumerate(self.predictors or ()):
            if number.same(self.measured):
                raise ValueError(f"predictors.{place} is the number that is asked about: it predicts itself")
            if names.setdefault(number.called, place) != place:
                raise ValueError(
                    f"predictors.{names[number.called]} and predictors.{place} are both called "
                    f"{number.called!r}; keep one, or give each a 'name' of its own"
                )
        if self.predictors is not None and self.unit != "run":
            raise ValueError(f"'predictors' are numbers of runs; drop 'unit: {self.unit}'")
        return self

    @model_validator(mode="after")
    def _what_goes_with_a_claim(self):
        if (self.claim in ("none", "equal")) != (self.margin is not None):
            raise ValueError(
                "'claim' and 'margin' go together: 'none' claims that |rho| is below the margin, 'equal' "
                "that a difference is"
            )
        if self.claim == "none" and self.share is not None:
            raise ValueError("'claim: none' has a margin for |rho|, such as 0.3, not a share of a mean")
        if self.claim == "none" and (self.by is None or float(self.margin or 0) >= 1):
            raise ValueError("'claim: none' goes with 'by' and a margin below 1, which |rho| can reach")
        if self.claim == "equal" and (self.compare is None or len(self.compare) > 2):
            raise ValueError("'claim: equal' goes with 'compare' of two groups, or of one and 'keeps'")
        if self.keeps == 0 and self.share is not None:
            raise ValueError(f"a share of 0 is 0: give 'margin' in the metric's unit, not {self.margin!r}")
        if self.keeps is not None and (self.claim != "equal" or len(self.compare or ()) != 1):
            raise ValueError("'keeps' goes with 'claim: equal' and 'compare' of one group")
        return self

    @model_validator(mode="after")
    def _what_a_test_can_test(self):
        if self.test is None:
            return self
        kind = next((name for name in ("compare", "against", "by") if getattr(self, name) is not None), "")
        claims = self.claim is not None
        why = refusal(self.test, kind, len(self.compare or ()), self.unit, claims, bool(self.given))
        if why is not None:
            raise ValueError(why)
        return self
