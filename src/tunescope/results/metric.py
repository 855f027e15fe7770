"""What a number in the table means: every metric declares itself once, where it is measured."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

from tunescope.study.component import component_class, names

Better = Literal["higher", "lower"] | None
Derived = Literal["base", "base_only", "change", "change_relative", "retention", "client"]

_DERIVED_DEFINITION: dict[str, str] = {
    "base": "the same quantity of the model before tuning",
    "base_only": "the same quantity of the tuned model with its adapter taken off",
    "change": "tuned − base",
    "change_relative": "(tuned − base) / |base|",
    "retention": "tuned / base",
    "client": "the same quantity of one client's model after its own tuning in a round, the step; component: "
    "the client, behind part@ where the quantity has parts",
}


@dataclass(frozen=True)
class Metric:
    """The declaration of one measured quantity.

    Args:
        name: `<probe>.<quantity>`, as it stands in the table.
        dims: which of the table's dimensions tell its rows apart, such as `("tower", "layer", "head")`.
        unit: `nats`, `px`, `1` (a plain number), `%` is never used: shares are 0…1.
        range: smallest and largest possible value; None = unbounded.
        better: `higher`, `lower`, or None where neither is good in itself.
        definition: one line, with the formula.
        source: paper and section, or the house.
        derived: the comparisons with the base model that are written beside it as `<name>.<derived>`.
    """

    name: str
    dims: tuple[str, ...]
    unit: str
    range: tuple[float | None, float | None]
    better: Better
    definition: str
    source: str
    derived: tuple[Derived, ...] = ("base", "change", "change_relative")

    def derive(self, derived: Derived) -> "Metric":
        """The declaration of `<name>.<derived>`."""
        relative = derived in ("change_relative", "retention")
        spread = None if self.range[0] is None or self.range[1] is None else self.range[1] - self.range[0]
        ranges: dict[str, tuple[float | None, float | None]] = {
            "base": self.range,
            "base_only": self.range,
            "change": (None if spread is None else -spread, spread),
            "change_relative": (None, None),
            "retention": (0.0, None),
            "client": self.range,
        }
        along = ("component", "step") if derived == "client" else ()
        return Metric(
            name=f"{self.name}.{derived}",
            dims=tuple(dict.fromkeys((*self.dims, *along))),
            unit="1" if relative else self.unit,
            range=ranges[derived],
            better=self.better,
            definition=f"{_DERIVED_DEFINITION[derived]}: {self.definition}",
            source=self.source,
            derived=(),
        )


def _training(
    name: str, unit: str, low: float | None, high: float | None, better: Better, definition: str, *dims: str
) -> Metric:
    return Metric(f"training.{name}", dims, unit, (low, high), better, definition, "tunescope", ())


TRAINING = (
    _training(
        "loss", "nats", None, None, "lower", "mean loss of the step's batch, penalties included", "step"
    ),
    _training("penalty", "nats", 0.0, None, None, "a penalty's part, weight included", "component", "step"),
    _training("lr", "1", 0.0, None, None, "learning rate of the step", "step"),
    _training("val_acc1", "1", 0.0, 1.0, "higher", "validation accuracy under the trained head", "step"),
    _training(
        "val_loss", "1", 0.0, None, "lower", "mean validation loss, where numbers are predicted", "step"
    ),
    _training("probe_val_acc1", "1", 0.0, 1.0, "higher", "validation accuracy of LP-FT's linear probe"),
    _training("probe_val_loss", "1", 0.0, None, "lower", "validation loss of LP-FT's linear probe"),
    _training("seconds", "s", 0.0, None, "lower", "wall-clock seconds of tuning; differs between machines"),
    _training(
        "memory",
        "MiB",
        0.0,
        None,
        "lower",
        "weights, gradients, optimiser state and kept activations of the first step, counted by tensor",
    ),
    _training("trainable", "1", 0.0, None, None, "number of trained parameters, head included"),
    _training("stopped", "1", 0.0, None, None, "step after which a live monitor ended the tuning early"),
    _training(
        "converged", "1", 0.0, 1.0, "higher", "1 where the study's convergence criterion is met, else 0"
    ),
    _training("total", "1", 0.0, None, None, "number of parameters of model and head"),
    _training("share", "1", 0.0, 1.0, None, "trained parameters over all parameters of model and head"),
)


def _after(name: str, low: float, high: float | None, better: Better, definition: str, *dims: str) -> Metric:
    return Metric(f"after.{name}", dims, "1", (low, high), better, definition, "tunescope", ())


AFTER = (
    _after("alpha", 0.0, 1.0, None, "α of θ(α) = (1 − α)·θ₀ + α·θ₁ that was settled on, 1 the tuned weights"),
    _after("sparsity", 0.0, 1.0, None, "share of the straggler layers' weights that was settled on"),
    _after("stragglers", 0.0, None, None, "number of layers that were made sparse"),
    _after("ingredients", 1.0, None, None, "number of runs whose weights are in the soup"),
    _after(
        "val_acc1", 0.0, 1.0, "higher", "validation accuracy of the weights that were settled on", "split"
    ),
    _after("val_loss", 0.0, None, "lower", "their validation loss, where numbers are predicted", "split"),
)


def _federated(
    name: str,
    unit: str,
    range: tuple[float | None, float | None],
    better: Better,
    definition: str,
    *dims: str,
    source: str = "tunescope",
) -> Metric:
    return Metric(f"federated.{name}", dims, unit, range, better, definition, source, ())


_ROUND = "step: the round"
_BYTES = "bytes per round"
_LUO = "Luo et al. 2021, arXiv 2106.05001, section 3; Nguyen et al. 2021, eq. 3"
OF_CLIENTS = (
    _federated(
        "cka",
        "1",
        (-1.0, 1.0),
        None,
        "debiased linear CKA of the features that a client's model after its round gives probe examples with "
        f"those that it gave as it was sent; {_ROUND}",
        "component",
        "step",
        source="Nguyen et al. 2021, arXiv 2010.15327, eq. 3",
    ),
    _federated(
        "cka_between",
        "1",
        (-1.0, 1.0),
        None,
        "mean debiased linear CKA of the features of a client's model after its round, on probe examples, "
        f"with those of each other client's; {_ROUND}",
        "component",
        "step",
        source=_LUO,
    ),
    _federated(
        "drift",
        "1",
        (0.0, 2.0),
        None,
        f"how far clients drift apart: mean of 1 − CKA over all pairs of the round's clients; {_ROUND}",
        "step",
        source=_LUO,
    ),
)
FEDERATED = (
    *OF_CLIENTS,
    _federated(
        "loss",
        "nats",
        (None, None),
        "lower",
        f"mean over the steps of a client's round; {_ROUND}",
        "component",
        "step",
    ),
    _federated(
        "aggregation_error",
        "1",
        (0.0, None),
        "lower",
        f"‖ΔW − ΔW*‖ / ‖ΔW*‖, ΔW* = Σ p_k·s_k·B_k·A_k, ΔW what the next round begins with; {_ROUND}",
        "step",
        source="Singhal et al. 2024, arXiv 2410.09432, section 3",
    ),
    _federated("clients", "clients", (0.0, None), None, f"whose answers were used; {_ROUND}", "step"),
    _federated("dropped", "clients", (0.0, None), "lower", f"who were left out; {_ROUND}", "step"),
    _federated("bytes_down", _BYTES, (0.0, None), "lower", f"size of arrays to clients; {_ROUND}", "step"),
    _federated("bytes_up", _BYTES, (0.0, None), "lower", f"size of arrays from clients; {_ROUND}", "step"),
    _federated(
        "traffic",
        "1",
        (0.0, None),
        "lower",
        f"bytes both ways over those of the whole model, sent and sent back by whoever was asked; {_ROUND}",
        "step",
    ),
    _federated(
        "epsilon",
        "1",
        (0.0, None),
        "lower",
        "ε at δ = 1e-5 of what the server gives out in all rounds, towards one client against none in its "
        "place, under `privacy` with a fixed norm and noise that nobody can draw again; of the arrays alone, "
        "and without amplification by sampling",
        source="Balle & Wang 2018, arXiv 1805.06530, theorem 8",
    ),
    _federated("examples", "examples", (0.0, None), None, "training examples of a client", "component"),
    _federated(
        "held",
        "examples",
        (1.0, None),
        None,
        "training examples of one class that a client holds; component: the client, split: class:<name>; "
        "classes of which it holds none have no row",
        "component",
        "split",
    ),
    _federated(
        "personal",
        "1",
        (None, 1.0),
        "higher",
        "accuracy of a client's model after its own tuning in the last round, on test examples weighted by "
        "its own mixture of classes; minus the squared error of numbers",
        "component",
    ),
    _federated(
        "global",
        "1",
        (None, 1.0),
        "higher",
        "accuracy of the global model on the same examples of a client",
        "component",
    ),
)

SKIPPED = Metric(
    name="data.skipped",
    dims=("split",),
    unit="1",
    range=(0.0, None),
    better="lower",
    definition="images that could not be decoded and were left out; no split: of the task's own data",
    source="tunescope",
    derived=(),
)


@cache
def declared() -> dict[str, Metric]:
    """Every metric that is written into a table, derived ones included, by name."""
    metrics = [*TRAINING, *AFTER, *FEDERATED, SKIPPED]
    for name in names("probe"):
        for metric in getattr(component_class("probe", name), "metrics", ()):
            metrics += [metric, *(metric.derive(derived) for derived in (*metric.derived, "client"))]
    return {metric.name: metric for metric in metrics}
