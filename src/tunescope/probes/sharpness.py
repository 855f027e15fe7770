"""How sharp the loss is in the weights: of a tower, a block, a role, and along the path from the base."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from tunescope.errors import MethodError, nearest
from tunescope.probes.probe import Measurement, Probe, Subject
from tunescope.results.metric import Derived, Metric
from tunescope.study.spec import Spec

if TYPE_CHECKING:
    from tunescope.data.examples import Examples

Kind = Literal[
    "average",
    "linf",
    "l2",
    "average_plain",
    "linf_plain",
    "l2_plain",
    "hessian_top",
    "hessian_trace",
    "hessian_top_adaptive",
    "hessian_trace_adaptive",
]
Positive = Annotated[float, Field(gt=0)]
Grid = tuple[Positive, ...]

_ANDRIUSHCHENKO = "Andriushchenko et al. 2023, section 3"
_DEFINED = {
    "average": ("E L(w + δ) − L(w), δ = ρ|w| ⊙ N(0, 1), antithetic pairs; std over n draws", None),
    "linf": ("max L(w + δ) − L(w) over |δᵢ| ≤ ρ|wᵢ|, by Auto-PGD; std over n batches", 0.0),
    "l2": ("max L(w + δ) − L(w) over ‖δ/|w|‖₂ ≤ ρ, by Auto-PGD; std over n batches", 0.0),
    "average_plain": ("E L(w + δ) − L(w), δ = ρ·N(0, 1), antithetic pairs; std over n draws", None),
    "linf_plain": ("max L(w + δ) − L(w) over |δᵢ| ≤ ρ, by Auto-PGD; std over n batches", 0.0),
    "l2_plain": ("max L(w + δ) − L(w) over ‖δ‖₂ ≤ ρ, by Auto-PGD; std over n batches", 0.0),
    "hessian_top": ("λ_max of ∂²L/∂w²; std over n batches", None),
    "hessian_trace": ("tr ∂²L/∂w², Hutchinson's estimate; std over n draws", None),
    "hessian_top_adaptive": ("λ_max of D·∂²L/∂w²·D, D = diag |w|; std over n batches", None),
    "hessian_trace_adaptive": ("tr D·∂²L/∂w²·D, D = diag |w|, Hutchinson's; std over n draws", None),
}
_VIEWS: dict[str, tuple[str, tuple[str, ...], tuple[Derived, ...]]] = {
    "sharpness": (
        "in all weights of the tower; point = ρ",
        ("point",),
        ("base", "change", "change_relative"),
    ),
    "layer_sharpness": ("in one block's weights alone", ("layer",), ("base", "change", "change_relative")),
    "role_sharpness": (
        "in the weights of one role of one block; component = <head>.<role>",
        ("layer",),
        ("base", "change", "change_relative"),
    ),
    "straggler_sharpness": (
        "in one block's weights, mean over the k layers with the largest scores (n = k)",
        (),
        (),
    ),
    "sharpness_along": ("in all weights of the tower at θ(α) = (1−α)θ₀ + αθ₁; point = α", ("point",), ()),
    "layer_sharpness_along": ("in one block's weights at θ(α); point = α", ("layer", "point"), ()),
}


def _metrics() -> Iterator[Metric]:
    for view, (where, dims, derived) in _VIEWS.items():
        for kind, (what, low) in _DEFINED.items():
            source = "Hutchinson 1990; Lehoucq et al. 1998" if kind.startswith("hessian") else _ANDRIUSHCHENKO
            yield Metric(
                f"landscape.{view}_{kind}",
                ("tower", "component", "split", *dims),
                "nats",
                (low, None),
                None,
                f"{what}; {where}",
                source,
                derived,
            )


class Radii(Spec):
    """The ρ of each kind that are measured beside its reference; the usual ones of ViTs."""

    average: Grid = (0.1, 0.2, 0.4, 0.8)
    linf: Grid = (5e-4, 1e-3, 2e-3, 4e-3)
    l2: Grid = (0.5, 1.0, 2.0, 4.0)
    average_plain: Grid = ()
    linf_plain: Grid = ()
    l2_plain: Grid = ()


class Reference(Spec):
    """The one ρ of each kind whose rows have no point; plain kinds have no usual one."""

    average: Positive = 0.2
    linf: Positive = 1e-3
    l2: Positive = 1.0
    average_plain: Positive | None = None
    linf_plain: Positive | None = None
    l2_plain: Positive | None = None


class SharpnessProbe(Probe):
    """How much the loss rises when weights move: at random, at worst, and by its second derivatives.

    The weights are a tower's: its embeddings, blocks, last norm and projection, frozen or not, and of a tuned
    model the effective ones, adapters merged, in a plain model. Heads are not moved, and the trained one is
    the same at every α: component `trained` is the trained head, `text` the one made of prompts. The base
    model has `text` alone; under the trained head it is what `along: [0]` measures. Each batch is moved and
    searched by itself, and the mean over batches is given.

    A row per ρ has ρ as its point; the row of the reference ρ stands without a point beside it, and blocks,
    roles and the path are measured at that ρ alone.

    No rows: of a tuned model whose adapter is off, and of a tower that is tuned by what cannot be folded into
    weights (adapters, prompts, prefixes).

    Array: `landscape.sharpness_subset` [n], indices of the examples in the split.

    Args:
        split: which examples; not augmented.
        sample: at most so many of them, spread evenly over the split.
        batch: examples of one search; of at most 256 texts, one forward pass.
        kinds: which sharpness: `average`, `linf` and `l2` scale with the weights, those with `_plain` do not;
            `hessian_top` and `hessian_trace` do not, those with `_adaptive` do.
        radii: ρ by kind.
        reference: ρ by kind.
        steps: of Auto-PGD, per radius.
        draws: antithetic pairs, and signs of the Hessian's trace.
        seed: of the draws, which are the same for every model and every ρ.
        layers: also in each block's weights alone.
        stragglers: also of so many layers with the largest scores above 0, on the same examples, their mean.
        straggler_score: a layer's barrier, of 11 α, or what rewinding it costs, as `layer_path` has them.
        roles: also in each of these, block by block: `attention.q`, `mlp.fc1`, …, or `q`, `fc1` for short.
        along: also at these α between the base (0) and the tuned model (1).
        normalise_logits: logits are centred and divided by their norm, so that their scale plays no part.
    """

    kind: str = "sharpness"
    split: str = "val"
    sample: Annotated[int, Field(ge=1)] = 1024
    batch: Annotated[int, Field(ge=1, le=256)] = 128
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = ("average", "linf")
    radii: Radii = Radii()
    reference: Reference = Reference()
    steps: Annotated[int, Field(ge=1)] = 20
    draws: Annotated[int, Field(ge=1)] = 8
    seed: Annotated[int, Field(ge=0)] = 0
    layers: bool = False
    stragglers: Annotated[int, Field(ge=0)] = 0
    straggler_score: Literal["barrier", "rewind"] = "barrier"
    roles: tuple[str, ...] = ()
    along: tuple[Annotated[float, Field(ge=0, le=1)], ...] = ()
    normalise_logits: bool = False

    metrics: ClassVar[tuple[Metric, ...]] = tuple(_metrics())
    source: ClassVar[str] = "Andriushchenko et al. 2023, arXiv 2302.07011"

    @model_validator(mode="after")
    def _can_be_read(self):
        if self.split == "probe":
            raise ValueError(
                "split: the probe split is for structure, and no head is read there; take val, test, "
                "shift:<data> or zero_shot:<data>"
            )
        for kind in self.kinds:
            if kind in Reference.model_fields and getattr(self.reference, kind) is None:
                raise ValueError(
                    f"reference: no usual radius is known of {kind}; give one, such as "
                    f"reference: {{{kind}: 0.001}}"
                )
        return self

    def measure(self, subject: Subject) -> Measurement:
        """Rows by head, and by ρ, block, role and α.

        Raises:
            StudyError: the split is not there.
            MethodError: the tower that the task tunes does not read the split, logits of numbers are to be
                normalised, or a role is unknown.
            ModelError: a loss is not finite: what was tuned has diverged, or a radius is too large.
        """
        from tunescope.data.sample import few, spread
        from tunescope.landscape.plain import Walk
        from tunescope.probes.sharpness_rows import sharpness_rows

        if subject.head is not None and subject.change is None:
            return Measurement([])
        change = None if subject.change is None else subject.change()
        if change is not None and change.apart:
            return Measurement([])
        part = self._read(subject)
        subset = spread(self.sample, len(part))
        base, ends = (subject.encoder, ()) if change is None else (change.base, (change.tuned,))
        with Walk(base, *ends, device=subject.encoder.device) as walk:
            rows = sharpness_rows(self, subject, walk, few(part, self.sample))
        return Measurement(rows, {"landscape.sharpness_subset": subset} if rows else {})

    def _read(self, subject: Subject) -> "Examples":
        from tunescope.models.modelmap import ROLES, SHORT_ROLES

        part = self.examples(subject, self.split)
        if part.tower != subject.tower:
            raise MethodError(
                f"{self.kind} probe: split {self.split!r} is read by the {part.tower} tower, and the "
                f"{subject.tower} tower is tuned: expected a split that this one reads"
            )
        if self.normalise_logits and part.regression:
            raise MethodError(
                f"{self.kind} probe: normalise_logits is for classes, and the labels of {self.split!r} are "
                "numbers; leave it out"
            )
        for role in self.roles:
            if role not in ROLES and role not in SHORT_ROLES:
                known = [*SHORT_ROLES, *ROLES]
                raise MethodError(f"{self.kind} probe: unknown role {role!r}; {nearest(role, known)}")
        return part
