"""The path between base and tuned model: loss and accuracy along it, its barrier, and its best point."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from tunescope.probes.probe import Measurement, Probe, Subject
from tunescope.results.metric import Better, Metric
from tunescope.results.row import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tunescope.data.examples import Examples
    from tunescope.landscape.between import Curve
    from tunescope.landscape.on_top import OnTop
    from tunescope.landscape.plain import Walk

MEAN = "shift:mean"  # the split of what is said of all shifts together, each counting alike
CHOOSER = "val"
READ = (CHOOSER, "test", "shift:", "zero_shot:")  # `probe` is for structure

_PLACE, _POINT = ("tower", "component", "split"), ("tower", "component", "split", "point")
_WISE = "Wortsman et al. 2022, arXiv 2109.01903"
_SHIFTS = "split shift:mean is the mean over the shifts"


def _metric(
    name: str,
    dims: tuple[str, ...],
    unit: str,
    range: tuple[float | None, float | None],
    better: Better,
    definition: str,
    source: str = _WISE,
) -> Metric:
    return Metric(f"landscape.{name}", dims, unit, range, better, definition, source, ())


class PathProbe(Probe):
    """Loss and accuracy along the straight path from the base's weights to the tuned ones.

    θ(α) = (1 − α)·θ₀ + α·θ₁ over the effective weights, whatever the method: α = 0 is the base, α = 1 the
    model as it was tuned, both bit for bit. Splits and components are the transfer probe's. The `trained`
    head walks too, from where it was before its first step (WiSE-FT's convention); the `text` head is made of
    prompts, anew for every α where the text tower walks. The best α is chosen on `val` alone.

    A head that starts at zeros says the same of everything at α = 0: accuracy has no meaning there, so that
    row, and whatever is held against α = 0 (`gain`, `tuned_gain`, `failure`), are left out for it. Its loss,
    and with it the barrier, is that of an even guess there. Where labels are numbers, α is chosen by loss and
    there is no accuracy.

    No rows: of the base model, of a tuned one whose adapter is off, and where a tower is tuned by what cannot
    be folded into weights (adapters, prompts, prefixes).

    Args:
        points: number of α from 0 to 1.
        subset: how many examples of each split, spread evenly over it; all where there are fewer.
    """

    kind: str = "path"
    points: Annotated[int, Field(ge=3)] = 21
    subset: Annotated[int, Field(ge=1)] = 512

    metrics: ClassVar[tuple[Metric, ...]] = (
        _metric(
            "path_loss",
            _POINT,
            "nats",
            (0.0, None),
            "lower",
            "mean loss at θ(α), α in `point`: cross-entropy, or squared error (not in nats) of numbers",
        ),
        _metric("path_acc1", _POINT, "1", (0.0, 1.0), "higher", "accuracy at θ(α), α in `point`"),
        _metric(
            "barrier",
            _PLACE,
            "nats",
            (0.0, None),
            "lower",
            "max_α [L(θ(α)) − ((1 − α)·L(θ₀) + α·L(θ₁))]",
            "Frankle et al. 2020, arXiv 1912.05671, section 2",
        ),
        _metric(
            "best_alpha",
            _PLACE,
            "1",
            (0.0, 1.0),
            None,
            "α of the highest accuracy on val, of equal ones the largest; by loss where labels are numbers",
        ),
        _metric("best_loss", _PLACE, "nats", (0.0, None), "lower", "loss at the best α"),
        _metric("best_acc1", _PLACE, "1", (0.0, 1.0), "higher", f"accuracy at the best α; {_SHIFTS}"),
        _metric(
            "gain",
            _PLACE,
            "1",
            (-1.0, 1.0),
            "higher",
            f"accuracy at the best α less that at α = 0; {_SHIFTS}",
        ),
        _metric(
            "tuned_gain",
            _PLACE,
            "1",
            (-1.0, 1.0),
            "higher",
            f"accuracy at α = 1 less that at α = 0; {_SHIFTS}",
        ),
        _metric(
            "failure",
            _PLACE,
            "1",
            (0.0, 1.0),
            "lower",
            f"1 where no α is more accurate on a shift than α = 0, else 0; {_SHIFTS}",
            "arXiv 2410.16476",
        ),
    )
    source: ClassVar[str] = "Wortsman et al. 2022, arXiv 2109.01903; Frankle et al. 2020, arXiv 1912.05671"

    def measure(self, subject: Subject) -> Measurement:
        """Rows by component and split, and along the path by α.

        Raises:
            ModelError: what was tuned is not finite any more.
        """
        if subject.change is None:
            return Measurement([])
        change = subject.change()
        if change.apart:
            return Measurement([])
        from tunescope.data.sample import few
        from tunescope.landscape.curve import alphas
        from tunescope.landscape.on_top import OnTop
        from tunescope.landscape.plain import Walk

        given = subject.examples.items()
        sets = {split: few(part, self.subset) for split, part in given if split.startswith(READ)}
        at, found = alphas(self.points), []
        with Walk(change.base, change.tuned, device=subject.encoder.device) as walk:
            head = None if subject.head_origin is None else subject.head
            heads = OnTop(walk, head, subject.head_origin, subject.encoder)
            for done, alpha in enumerate(at.tolist()):
                subject.progress("the path", done, len(at))
                key = f"path/{self.subset}/{alpha!r}"
                found.append(subject.kept(key, partial(_outcomes, walk, heads, alpha, sets, subject)))
            subject.progress("the path", len(at), len(at))
            read = [(under, split) for split, part in sets.items() for under in heads.components(split, part)]
            from_zero = heads.from_zero
        rows: list[Row] = []
        for component in dict.fromkeys(under for under, _ in read):
            own = {split: _curve(at, found, under, split) for under, split in read if under == component}
            rows += _rows(subject.tower, component, own, component == "trained" and from_zero)
        return Measurement(rows)


def _outcomes(
    walk: "Walk", heads: "OnTop", alpha: float, sets: "dict[str, Examples]", subject: Subject
) -> "dict[str, np.ndarray]":
    from tunescope.landscape.between import outcomes

    found: dict[str, np.ndarray] = {}
    for read, one in outcomes(walk, heads, alpha, sets, subject.batch_size).items():
        found["/".join((*read, "losses"))] = one.losses
        if one.right is not None:
            found["/".join((*read, "right"))] = one.right
    return found


def _curve(at: np.ndarray, found: "list[dict[str, np.ndarray]]", component: str, split: str) -> "Curve":
    from tunescope.landscape.between import curve

    losses, right = (
        [each[name] for each in found if (name := "/".join((component, split, what))) in each]
        for what in ("losses", "right")
    )
    return curve(at, losses, right)


def _rows(tower: str, component: str, curves: "dict[str, Curve]", blank: bool) -> "Iterator[Row]":
    """One head's rows.

    Args:
        tower: that is tuned.
        component: the head.
        curves: by split.
        blank: whether the head says the same of everything at α = 0.
    """
    from tunescope.landscape.curve import barrier, best, failed, mean_curve

    place: dict[str, Any] = {"tower": tower, "component": component}
    for split, curve in curves.items():
        here: dict[str, Any] = place | {"split": split, "n": curve.losses.shape[1]}
        yield from _points("path_loss", curve.alphas, curve.losses, here)
        if curve.right is not None:
            first = 1 if blank else 0
            yield from _points("path_acc1", curve.alphas[first:], curve.right[first:], here)
        yield Row("landscape.barrier", float(barrier(curve.alphas, curve.loss)), **here)
    if CHOOSER not in curves:
        return
    val = curves.pop(CHOOSER)
    if val.acc1 is None:
        chosen = best(val.loss, lower=True)
    else:
        chosen = best(val.acc1[1:]) + 1 if blank else best(val.acc1)
    yield Row("landscape.best_alpha", float(val.alphas[chosen]), split=CHOOSER, n=len(val.losses[0]), **place)
    accuracies: dict[str, np.ndarray] = {}
    for split, curve in curves.items():
        here = place | {"split": split, "n": curve.losses.shape[1]}
        yield Row("landscape.best_loss", float(curve.loss[chosen]), **here)
        if curve.acc1 is not None:
            accuracies[split] = curve.acc1
    if shifts := [curve for split, curve in accuracies.items() if split.startswith("shift:")]:
        accuracies[MEAN] = mean_curve(shifts)
    for split, curve in accuracies.items():
        here = place | {"split": split}
        yield Row("landscape.best_acc1", float(curve[chosen]), **here)
        if blank:
            continue
        yield Row("landscape.gain", float(curve[chosen] - curve[0]), **here)
        yield Row("landscape.tuned_gain", float(curve[-1] - curve[0]), **here)
        if split.startswith("shift:"):
            yield Row("landscape.failure", float(failed(curve)), **here)


def _points(metric: str, at: np.ndarray, values: np.ndarray, here: dict[str, Any]) -> "Iterator[Row]":
    for alpha, each in zip(at.tolist(), values.astype(np.float64), strict=True):
        std = float(each.std(ddof=1)) if len(each) > 1 else float("nan")
        yield Row(f"landscape.{metric}", float(each.mean()), point=alpha, std=std, **here)
