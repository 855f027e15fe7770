"""Questions are declared before the runs, so that the answers are not fished for."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from tunescope.study.spec import Spec


class Question(Spec):
    """One question to the table. Each run gives one number; tests compare runs.

    The number is `reduce` over the rows of `metric` that `where` lets through (globs on the table's
    columns, such as `split: "shift:*"`). Then either groups of runs are compared (`compare`), or the
    number is held against a numeric factor of the runs (`against: lr`).

    With `at: best`, each group is first narrowed to its learning rate with the best validation
    accuracy (mean over seeds); test data has no say. With `at: {lr: 1e-3}`, or `at: {data: glue/rte}`, to the
    runs whose factors have these values.
    """

    ask: str
    metric: str
    where: dict[str, str] = Field(default_factory=dict)
    reduce: Literal["mean", "mean_abs", "max", "min"] = "mean"
    compare: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    against: str | None = None
    among: tuple[str, ...] = ()  # groups to use with `against`; empty = all
    at: Literal["all", "best"] | dict[str, float | str] = "all"
    unit: Literal["run", "layer"] = "run"

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
        if (self.compare is None) == (self.against is None):
            raise ValueError(
                "a question has exactly one of 'compare' (groups of runs) and 'against' (a factor)"
            )
        if self.among and self.against is None:
            raise ValueError("'among' goes with 'against'; with 'compare' the groups are named there")
        return self
