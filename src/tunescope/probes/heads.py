"""Which attention heads matter: taken out one by one, and by the gradients of their gates."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from tunescope.probes.probe import Measurement, Probe, Subject
from tunescope.results.metric import Derived, Metric
from tunescope.results.row import Row

if TYPE_CHECKING:
    import numpy as np

    from tunescope.probes.head_losses import HeadLosses

FEATURES = "_heads.features"  # of the base
TRAINED, LABELS = "_heads.head", "_heads.labels"  # what the base is read by

_MICHEL = "Michel et al. 2019, section 2.2"
_COMPARED: tuple[Derived, ...] = ("base", "base_only", "change")
_PROXIES = {
    "gate_gradient": "mean |∂ℓ/∂gate|",
    "gate_gradient_signed": "−mean ∂ℓ/∂gate, the first-order estimate of importance",
    "gate_fisher": "mean (∂ℓ/∂gate)²",
}


def _metric(
    quantity: str,
    low: float | None,
    definition: str,
    source: str,
    derived: tuple[Derived, ...] = (*_COMPARED, "change_relative"),
) -> Metric:
    dims = ("tower", "layer", "head", "component")
    return Metric(f"heads.{quantity}", dims, "nats", (low, None), None, definition, source, derived)


def _agreement(proxy: str) -> tuple[Metric, Metric]:
    dims = ("tower", "component")
    derived: tuple[Derived, ...] = ("base", "base_only")
    what = f"of importance and {_PROXIES[proxy]}, over all heads of the tower"
    return (
        Metric(
            f"heads.agreement.{proxy}_kendall",
            dims,
            "1",
            (-1.0, 1.0),
            "higher",
            f"Kendall's τ-b {what}",
            "Kendall 1945",
            derived,
        ),
        Metric(
            f"heads.agreement.{proxy}_top",
            dims,
            "1",
            (0.0, 1.0),
            "higher",
            f"share of heads in both top quarters, {what}; 1/4 by chance",
            "tunescope",
            derived,
        ),
    )


class HeadsProbe(Probe):
    """What every attention head is worth: the loss without it, exactly, and what its gate's gradient says.

    ℓᵢ is the cross-entropy of example i, whatever it was trained on, or its squared error (not in nats) where
    labels are numbers. Component `trained` is read under the trained head, `text` under the
    head made of prompts, where there is one, as the transfer probe has it; the base has `text` alone. What
    its heads are worth to the trained head is `heads.importance_pre`: the base's features under it, where
    that is linear in them or in their directions. Labels decide the loss, so a tower that does not read the
    split's inputs is not measured, nor is an attention pooling head (SigLIP's vision), which has no gates.

    Arrays: `heads.subset` [n], indices of the examples in the split; and per component
    `heads.losses.<component>` [1 + L·H, n], row 0 with all heads, row 1 + l·H + h without head h of layer l,
    `heads.gradients.<component>` [L, H, n], and `heads.interval.<component>` [L, H, 2], the paired bootstrap
    interval (95 %, BCa) of importance. Beside the base: `heads.interval.change.<component>` [L, H, 2], of
    what importance has changed by, the base's being importance_pre under the trained head; that one's own
    `heads.interval.importance_pre` [L, H, 2] and `heads.losses_pre.trained` [1 + L·H, n].

    Args:
        split: which examples; trained on none of them.
        subset: how many of them, spread evenly over the split; None = 256, or all where there are fewer.
        ablation: a head's output becomes zero, or its mean over these examples: at each token position for
            images, over all real tokens for texts.
        precision: of the forward passes without a head. bfloat16 is faster and less exact; gradients are
            float32 always.
    """

    kind: str = "heads"
    split: str = "val"
    subset: Annotated[int, Field(ge=2)] | None = None
    ablation: Literal["zero", "mean"] = "zero"
    precision: Literal["float32", "bfloat16"] = "float32"

    version: ClassVar[int] = 2
    metrics: ClassVar[tuple[Metric, ...]] = (
        _metric("importance", None, "mean of ℓᵢ without the head − ℓᵢ with all heads", _MICHEL, _COMPARED),
        _metric(
            "importance_pre",
            None,
            "importance in the model before tuning, under the head that was trained later",
            _MICHEL,
            (),
        ),
        _metric("gate_gradient", 0.0, "mean |∂ℓᵢ/∂gate| at gate = 1", "Michel et al. 2019, section 4.1"),
        _metric("gate_gradient_signed", None, "mean ∂ℓᵢ/∂gate at gate = 1", "tunescope", _COMPARED),
        _metric("gate_fisher", 0.0, "mean (∂ℓᵢ/∂gate)², of single examples' gradients", "tunescope"),
        *(metric for proxy in _PROXIES for metric in _agreement(proxy)),
    )
    source: ClassVar[str] = "Michel et al. 2019, arXiv 1905.10650"

    def measure(self, subject: Subject) -> Measurement:
        """Rows per component, layer and head, and the arrays.

        Raises:
            StudyError: the split is not there, or has fewer examples than asked for.
            MethodError: the tower that the task tunes does not read the split.
        """
        from tunescope.probes.head_losses import OnTop, head_losses

        settings: Any = {name: getattr(self, name) for name in ("split", "subset", "ablation", "precision")}
        found = head_losses(self, subject, **settings)
        rows: list[Row] = []
        arrays = {"heads.subset": found.subset}
        for k, component in enumerate(found.components):
            rows += self._rows(found, k, subject.tower, component)
            arrays |= _arrays(found, k, component)
        if subject.head is None:
            assert found.features is not None
            arrays[FEATURES] = found.features
        else:
            arrays |= OnTop.read(subject.head, subject.encoder.feature_dim, TRAINED)
            arrays[LABELS] = found.labels
        return Measurement(rows, arrays)

    def compare(self, base: Measurement, active: Measurement) -> Measurement:
        """What base and tuned model give together, on the same examples.

        Rows: `heads.importance_pre`, from the base's features without each head, under the trained head.
        Arrays: the losses behind it and its interval, and the intervals of what has changed.
        """
        from tunescope.probes.head_losses import OnTop
        from tunescope.probes.mean_interval import mean_intervals

        rows: list[Row] = []
        arrays = {}
        on_top = OnTop.of(active.arrays, TRAINED)
        if on_top is not None:
            before = on_top.losses(base.arrays[FEATURES], active.arrays[LABELS])
            arrays["heads.losses_pre.trained"] = before.astype("float32")
            own = [
                row for row in active.rows if row.metric == "heads.importance" and row.component == "trained"
            ]
            rows = [
                row._replace(metric="heads.importance_pre", value=value, std=std)
                for row, (value, std) in zip(own, map(_mean, before[1:] - before[0]), strict=True)
            ]
            arrays["heads.interval.importance_pre"] = mean_intervals(
                _by_head(before, active.arrays, "trained")
            )
            arrays["heads.interval.change.trained"] = _change(before, active.arrays, "trained")
        if "heads.losses.text" in active.arrays and "heads.losses.text" in base.arrays:
            before = base.arrays["heads.losses.text"]
            arrays["heads.interval.change.text"] = _change(before, active.arrays, "text")
        return Measurement(rows, arrays)

    def _rows(self, found: "HeadLosses", k: int, tower: str, component: str) -> list[Row]:
        import numpy as np

        from tunescope.probes.agreement import kendall, top_overlap

        place: dict[str, Any] = {"tower": tower, "component": component, "split": self.split}
        place["n"] = found.whole.shape[1]
        gradients = found.gradients[k]
        each = {
            "importance": found.differences[k],
            "gate_gradient": np.abs(gradients),
            "gate_gradient_signed": gradients,
            "gate_fisher": gradients**2,
        }
        rows = []
        for quantity, values in each.items():
            for layer, head in np.ndindex(values.shape[:2]):
                value, std = _mean(values[layer, head])
                rows.append(Row(f"heads.{quantity}", value, layer=layer, head=head, std=std, **place))
        importance = each["importance"].mean(-1)
        for proxy in _PROXIES:
            cheap = each[proxy].mean(-1) * (-1 if proxy == "gate_gradient_signed" else 1)
            name = f"heads.agreement.{proxy}"
            rows.append(Row(f"{name}_kendall", kendall(cheap, importance), **place))
            rows.append(Row(f"{name}_top", top_overlap(cheap, importance), **place))
        return rows


def _arrays(found: "HeadLosses", k: int, component: str) -> "dict[str, np.ndarray]":
    import numpy as np

    from tunescope.probes.mean_interval import mean_intervals

    n = found.whole.shape[1]
    losses = np.concatenate([found.whole[k][None], found.without[k].reshape(-1, n)])
    return {
        f"heads.losses.{component}": losses.astype(np.float32),
        f"heads.gradients.{component}": found.gradients[k].astype(np.float32),
        f"heads.interval.{component}": mean_intervals(found.differences[k]),
    }


def _by_head(losses: "np.ndarray", arrays: "dict[str, np.ndarray]", component: str) -> "np.ndarray":
    """Losses [1 + L·H, n] without each head less those with all, [L, H, n]."""
    layers, heads, _ = arrays[f"heads.interval.{component}"].shape
    return (losses[1:] - losses[0]).reshape(layers, heads, -1)


def _change(before: "np.ndarray", arrays: "dict[str, np.ndarray]", component: str) -> "np.ndarray":
    """The interval of importance now less importance before, the examples of both drawn together."""
    from tunescope.probes.mean_interval import mean_intervals

    now = arrays[f"heads.losses.{component}"]
    return mean_intervals(_by_head(now, arrays, component) - _by_head(before, arrays, component))


def _mean(values: "np.ndarray") -> tuple[float, float | None]:
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None
