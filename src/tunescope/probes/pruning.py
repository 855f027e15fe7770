"""What a model still does as its attention heads are taken out, the least important ones first."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from tunescope.errors import MethodError, StudyError
from tunescope.probes.probe import Measurement, Probe, Subject
from tunescope.results.metric import Better, Derived, Metric
from tunescope.results.row import Row

if TYPE_CHECKING:
    import numpy as np

    from tunescope.data.examples import Examples
    from tunescope.probes.scores import Score

Ranking = Literal["importance", "gate_gradient", "gate_fisher", "update_relative", "plasticity", "random"]
RANKINGS: tuple[Ranking, ...] = get_args(Ranking)

_BY: dict[Ranking, str] = {
    "importance": "what the loss gains without it",
    "gate_gradient": "mean |∂ℓ/∂gate|",
    "gate_fisher": "mean (∂ℓ/∂gate)²",
    "update_relative": "‖ΔW‖ / ‖W‖ of its weights",
    "plasticity": "the plasticity of its output",
    "random": "chance (mean over orders)",
}
_COMPARED: tuple[Derived, ...] = ("base", "base_only", "change")
_CURVES: tuple[tuple[str, str, float, float | None, Better, str], ...] = (
    ("acc1", "1", 0.0, 1.0, "higher", "accuracy without a share of the heads"),
    ("spearman", "1", -1.0, 1.0, "higher", "rank correlation without a share of the heads"),
    ("loss", "nats", 0.0, None, "lower", "mean loss without a share of the heads"),
)
_AREAS = {"area": "acc1", "loss_area": "loss"}  # the curve under which each is


def _metrics(ranking: Ranking) -> tuple[Metric, ...]:
    derived = () if ranking == "update_relative" else _COMPARED  # the base's weights have not moved
    order = f"taken out by {_BY[ranking]}, the lowest first"
    dims = ("tower", "component", "split")
    curves = {
        name: Metric(
            f"pruning.{ranking}.{name}",
            (*dims, "point"),
            unit,
            (low, high),
            better,
            f"{what}, {order}",
            "Michel et al. 2019, section 4.2",
            derived,
        )
        for name, unit, low, high, better, what in _CURVES
    }
    areas = (
        Metric(
            f"pruning.{ranking}.{name}",
            dims,
            curves[of].unit,
            curves[of].range,
            curves[of].better,
            f"area under {of} by the share of heads, 0 to 1, {order}",
            "tunescope",
            derived,
        )
        for name, of in _AREAS.items()
    )
    return (*curves.values(), *areas)


class PruningProbe(Probe):
    """Accuracy and loss as attention heads are taken out, a share at a time, by every ranking of them.

    A head that is out gives zero, before the output projection: its gate is 0. Heads are ranked once, while
    all of them are in; the lowest go first, and of equal ones the earlier. `point` is the share asked for, 0,
    1/steps, …, 1; the whole number of heads nearest to it is out. They are ranked on one split and the model
    is read on another, so that no ranking has seen what it is judged by.

    Rankings, a metric each (`pruning.importance.acc1`, …): `importance`, exact, `gate_gradient` and
    `gate_fisher`, as the heads probe has them, under the same head on the features; `update_relative` of a
    head's q, k, v and o together, where weights have changed; `plasticity` of a head's output (component
    `attention` of `heads.plasticity`); `random`, the mean over shuffled orders: what no ranking would give.

    Component: `trained` under the trained head, `text` under the head made of prompts, where there is one;
    the base has `text` alone. `area` and `loss_area` are the areas under the curves over the shares 0 to 1
    (trapezoids), so the mean accuracy and loss on the way. Where labels are numbers the loss is the squared
    error (not in nats), and Spearman's correlation is there in the place of accuracy; it says nothing where
    outputs do not vary, as without any head. The heads are those of the tower that is tuned; an attention
    pooling head (SigLIP's vision) stays.

    Arrays: `pruning.order.<ranking>.<component>` [orders, L·H], heads as l·H + h, the first to go first;
    `pruning.sample`, indices of the examples that are read.

    Args:
        split: which examples the model is read on.
        sample: at most so many of them, spread evenly over the split.
        ranked_on: which examples heads are ranked on.
        subset: how many of those, spread evenly; None = 256, or all where there are fewer.
        steps: in how many equal shares heads are taken out: 10 is 10 % at a time.
        rankings: by what.
        orders: how many shuffled ones `random` is the mean of.
    """

    kind: str = "pruning"
    split: str = "test"
    sample: Annotated[int, Field(ge=1)] = 1024
    ranked_on: str = "val"
    subset: Annotated[int, Field(ge=2)] | None = None
    steps: Annotated[int, Field(ge=1)] = 10
    rankings: Annotated[tuple[Ranking, ...], Field(min_length=1)] = RANKINGS
    orders: Annotated[int, Field(ge=1)] = 5

    metrics: ClassVar[tuple[Metric, ...]] = tuple(m for ranking in RANKINGS for m in _metrics(ranking))
    source: ClassVar[str] = "Michel et al. 2019, arXiv 1905.10650, section 4.2"

    @model_validator(mode="after")
    def _two_splits(self):
        if self.ranked_on == self.split:
            raise ValueError(f"heads are ranked and read on {self.split!r}; expected two splits")
        return self

    def measure(self, subject: Subject) -> Measurement:
        """Rows per ranking, component and share, the areas, and the orders.

        Raises:
            StudyError: a split is not there, or has fewer examples than asked for; more steps than heads.
            MethodError: the tower that the task tunes does not read a split.
        """
        from tunescope.probes.pruned import Pruned, shares
        from tunescope.probes.rankings import orders

        pruned = Pruned(subject, self._examples(subject), self.sample)
        if self.steps > pruned.heads:
            raise StudyError(
                f"pruning probe: {self.steps} steps, but the {subject.tower} tower has {pruned.heads} heads; "
                "expected at most as many, so that each step takes one out"
            )
        if not pruned.components:
            return Measurement([])
        found = orders(
            self,
            subject,
            self.rankings,
            pruned.components,
            split=self.ranked_on,
            subset=self.subset,
            shuffles=self.orders,
        )
        counts = shares(self.steps, pruned.heads)
        rows: list[Row] = []
        arrays: dict[str, np.ndarray] = {"pruning.sample": pruned.sample}
        total, done = sum(map(len, found.values())), 0
        for (ranking, component), some in found.items():
            curves = []
            for order in some:
                curves.append([pruned.without(order[:count])[component] for _, count in counts])
                done += 1
                subject.progress("pruning", done, total)
            at: dict[str, Any] = {"tower": subject.tower, "component": component, "split": self.split}
            at["n"] = len(pruned.sample)
            rows += _rows(f"pruning.{ranking}", curves, [share for share, _ in counts], at)
            arrays[f"pruning.order.{ranking}.{component}"] = some
        return Measurement(rows, arrays)

    def _examples(self, subject: Subject) -> "Examples":
        found = self.examples(subject, self.split)
        if found.tower != subject.tower:
            raise MethodError(
                f"pruning probe: split {self.split!r} is read by the {found.tower} tower, and the "
                f"{subject.tower} tower is tuned: expected a split that this one reads"
            )
        return found


def _rows(
    name: str, curves: "list[list[dict[str, Score]]]", points: list[float], at: dict[str, Any]
) -> list[Row]:
    """The rows of one ranking, and its areas: of several orders the mean, and then no std over examples."""
    import numpy as np

    rows, means = [], {}
    for quantity in curves[0][0]:
        means[quantity] = np.mean([[score[quantity].value for score in curve] for curve in curves], 0)
        for k, (point, value) in enumerate(zip(points, means[quantity].tolist(), strict=True)):
            std = curves[0][k][quantity].std if len(curves) == 1 else None
            rows.append(Row(f"{name}.{quantity}", value, point=point, std=std, **at))
    for area, of in _AREAS.items():
        if of in means:
            rows.append(Row(f"{name}.{area}", float(np.trapezoid(means[of], points)), **at))
    return rows
