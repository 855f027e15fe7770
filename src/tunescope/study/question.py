"""Questions are declared before the runs, so that the answers are not fished for."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from tunescope.study.spec import Spec

Reduce = Literal["mean", "mean_abs", "max", "min"]
Test = Literal["welch", "student", "mann_whitney", "wilcoxon", "permutation", "kruskal"]
Correction = Literal["holm", "benjamini_hochberg"]
OF_TWO = ("welch", "student", "mann_whitney", "wilcoxon", "permutation")
OF_SEVERAL = ("welch", "kruskal")


class Measured(Spec):
    """One number of each run: `reduce` over the rows of `metric` that `where` lets through (globs on the
    table's columns, such as `split: "shift:*"`).
    """

    metric: str
    where: dict[str, str] = Field(default_factory=dict)
    reduce: Reduce = "mean"


class Question(Spec):
    """One question to the table. Each run gives one number, as `Measured` says; tests compare runs.

    Groups of runs are compared (`compare`; one group with a value, `than`), or the number is held against a
    numeric factor of the runs (`against: lr`), or against another number of the same runs, which may predict
    it (`by`). With `by_depth` the early, middle and late thirds of each run's layers are compared, within the
    runs.

    With `by`, what drives both can be held fixed: factors of the runs (`given: [lr]`), the groups
    (`within: group`). `claim: none` with a `margin` claims that nothing is predicted, or too little to
    matter: that |ρ| is smaller than the margin. Without it, a large p shows nothing of the kind.

    With `compare`, `claim: equal` claims that two groups are the same to within ± `margin`, in the metric's
    unit; or that one group keeps a value, such as `keeps: 1.0` of a retention. `test` asks for another test
    than the one that the runs themselves call for: two groups with the same seeds get the paired t test,
    others Welch's, three and more Welch's analysis of variance.

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
    by_depth: bool = False
    given: tuple[str, ...] = ()  # factors that are held fixed, with `by`
    within: Literal["group"] | None = None
    claim: Literal["none", "equal"] | None = None
    margin: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    keeps: Annotated[float, Field(allow_inf_nan=False)] | None = None  # the value that one group keeps
    than: Annotated[float, Field(allow_inf_nan=False)] | None = None  # the value that one group differs from
    among: tuple[str, ...] = ()  # groups to use with `against`, `by` and `by_depth`; empty = all
    at: Literal["all", "best"] | dict[str, float | str] = "all"
    unit: Literal["run", "layer"] = "run"

    @property
    def measured(self) -> Measured:
        """The number that is asked about."""
        return Measured(metric=self.metric, where=self.where, reduce=self.reduce)

    @property
    def numbers(self) -> tuple[Measured, ...]:
        """The number that is asked about, and the one that it is held against."""
        return (self.measured,) if self.by is None else (self.measured, self.by)

    @property
    def held(self) -> tuple[str, ...]:
        """The factors that a run must have a value of."""
        return self.given if self.against is None else (self.against,)

    @property
    def parted(self) -> bool:
        """Whether means are compared: of groups of runs, or of parts of each run."""
        return self.compare is not None or self.by_depth

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
    def _one_kind(self):
        if sum(kind is not None for kind in (self.compare, self.against, self.by)) + self.by_depth != 1:
            raise ValueError(
                "a question has exactly one of 'compare' (groups of runs), 'against' (a factor), 'by' "
                "(another number of the same runs) and 'by_depth' (early, middle and late layers)"
            )
        if self.by_depth and self.unit == "layer":
            raise ValueError("'by_depth' compares thirds of the layers within runs; drop 'unit: layer'")
        if self.among and self.compare is not None:
            raise ValueError(
                "'among' goes with 'against', 'by' and 'by_depth'; with 'compare' the groups are named there"
            )
        if self.compare is not None and len(self.compare) == 1 and self.keeps is None and self.than is None:
            raise ValueError("'compare' needs two groups; one is held against a value with 'than' or 'keeps'")
        if self.than is not None and (len(self.compare or ()) != 1 or self.claim is not None):
            raise ValueError("'than' goes with 'compare' of one group, without a claim: that claims 'keeps'")
        return self

    @model_validator(mode="after")
    def _what_goes_with_by(self):
        for name in ("given", "within"):
            if getattr(self, name) and self.by is None:
                raise ValueError(f"{name!r} goes with 'by', another number of the same runs")
        if self.by == self.measured:
            raise ValueError("'by' is the number that is asked about: it predicts itself")
        if self.by is not None and self.unit == "layer":
            raise ValueError("'by' holds numbers of runs against each other; drop 'unit: layer'")
        return self

    @model_validator(mode="after")
    def _what_goes_with_a_claim(self):
        if (self.claim is None) != (self.margin is None):
            raise ValueError(
                "'claim' and 'margin' go together: 'none' claims that |rho| is below the margin, 'equal' "
                "that a difference is"
            )
        if self.claim == "none" and (self.by is None or (self.margin or 0) >= 1):
            raise ValueError("'claim: none' goes with 'by' and a margin below 1, which |rho| can reach")
        if self.claim == "equal" and (self.compare is None or len(self.compare) > 2):
            raise ValueError("'claim: equal' goes with 'compare' of two groups, or of one and 'keeps'")
        if self.keeps is not None and (self.claim != "equal" or len(self.compare or ()) != 1):
            raise ValueError("'keeps' goes with 'claim: equal' and 'compare' of one group")
        return self

    @model_validator(mode="after")
    def _what_a_test_can_test(self):
        if self.test is None:
            return self
        if self.compare is None or len(self.compare) == 1 or self.claim is not None:
            raise ValueError(
                "'test' goes with 'compare' of several groups, and not with a claim, which has its own test"
            )
        known = OF_TWO if len(self.compare) == 2 else OF_SEVERAL
        if self.test not in known:
            groups = "two groups" if len(self.compare) == 2 else "three groups or more"
            raise ValueError(f"'test: {self.test}' is not for {groups}; expected one of {', '.join(known)}")
        return self
