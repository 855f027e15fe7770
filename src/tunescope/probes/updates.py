"""What moved in the weights: of each head, and of each matrix."""

import math
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from tunescope.probes.probe import Measurement, Probe, Subject
from tunescope.results.metric import Metric
from tunescope.results.row import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from tunescope.models.modelmap import Tower
    from tunescope.probes.change import Pair, WeightChange

_HEAD, _WEIGHT = ("tower", "layer", "head", "component"), ("tower", "layer", "component")


def _metric(name: str, dims: tuple[str, ...], low: float, definition: str, source: str) -> Metric:
    return Metric(name, dims, "1", (low, None), None, definition, source, ())


class UpdatesProbe(Probe):
    """How far each head's and each matrix's weights moved, in how many directions, and in new ones or not.

    ΔW is the effective change, as merging in float32 would leave it, so that it means the same under every
    method; biases are in no ‖W‖. A head's: its rows of q, k and v, its columns of o (thirds, where q, k and
    v are one matrix); `all` is the four together, and an attention pooling head counts one past the last
    block. A matrix goes by its role (`attention.q`, `mlp.fc2`, …), and so do a block's norms; `embeddings`
    and `final` are all the weights there, taken as one vector. What has no role (layer scales, DeBERTa's
    table of positions) is left out. What a method leaves alone has moved by 0. Ranks and intruders are of the
    matrices that moved.

    No rows: of the base model, of a tuned one whose adapter is off, and of a tower that is tuned by what
    cannot be folded into weights (adapters, prompts, prefixes).

    Args:
        spectra: whether ranks and intruders are measured; they take most of the time.
        top: how many leading singular vectors may be intruders.
        threshold: ε, the best |cosine| with a singular vector of W below which one is.
    """

    kind: str = "updates"
    spectra: bool = True
    top: Annotated[int, Field(ge=1)] = 10
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5

    metrics: ClassVar[tuple[Metric, ...]] = (
        _metric("heads.update", _HEAD, 0.0, "‖ΔWₗₕ‖_F, its rows of q, k, v, columns of o", "tunescope"),
        _metric("heads.update_relative", _HEAD, 0.0, "‖ΔWₗₕ‖_F / ‖Wₗₕ‖_F, W of the base model", "tunescope"),
        _metric("weights.update", _WEIGHT, 0.0, "‖ΔW‖_F", "tunescope"),
        _metric("weights.update_relative", _WEIGHT, 0.0, "‖ΔW‖_F / ‖W‖_F, W of the base model", "tunescope"),
        _metric("weights.stable_rank", _WEIGHT, 1.0, "‖ΔW‖_F² / ‖ΔW‖₂²", "Rudelson & Vershynin 2007"),
        _metric(
            "weights.effective_rank",
            _WEIGHT,
            1.0,
            "exp(−Σ pᵢ ln pᵢ), pᵢ = σᵢ / Σσ, σ the singular values of ΔW above float32's rounding",
            "Roy & Vetterli 2007, section 2",
        ),
        _metric(
            "weights.intruders",
            _WEIGHT,
            0.0,
            "of the leading left singular vectors of W + ΔW, those with |cos| < ε to each of W's",
            "Shuttleworth et al. 2024, arXiv 2410.21228, section 3",
        ),
    )
    source: ClassVar[str] = "Shuttleworth et al. 2024, arXiv 2410.21228; Roy & Vetterli 2007"

    def measure(self, subject: Subject) -> Measurement:
        """Rows per head and component, and per matrix; a ratio to zero is left out.

        Raises:
            ModelError: what was tuned is not finite any more.
        """
        if subject.change is None:
            return Measurement([])
        change = subject.change()
        rows: list[Row] = []
        for tower in change.towers(subject.tower):
            place = change.base.map.tower(tower)
            rows += _heads(change, place)
            rows += self._roles(change, place)
            for component, paths in (("embeddings", (place.embeddings,)), ("final", place.final)):
                if pairs := [pair for path in paths for pair in change.below(path)]:
                    at: dict[str, Any] = {"tower": tower, "component": component}
                    rows += _sizes("weights", *_together(pairs), at)
        return Measurement(rows)

    def _roles(self, change: "WeightChange", tower: "Tower") -> "Iterator[Row]":
        from tunescope.models.modelmap import ROLES

        for layer, block in enumerate(tower.blocks):
            for role, field in ROLES.items():
                if (path := getattr(block, field)) is None:
                    continue
                at: dict[str, Any] = {"tower": tower.name, "layer": layer, "component": role}
                pairs = change.below(path)
                yield from _sizes("weights", *_together(pairs), at)
                for before, update in pairs if self.spectra else ():
                    if before.ndim == 2 and update.any():
                        yield from self._spectra(before, update, at)

    def _spectra(self, before: "Tensor", update: "Tensor", at: dict[str, Any]) -> "Iterator[Row]":
        from tunescope.probes.similarity import entropy_rank
        from tunescope.probes.spectra import Spectrum, stable_rank

        spectrum = Spectrum(before)
        sigma = spectrum.values(update)
        if len(sigma):
            yield Row("weights.stable_rank", stable_rank(sigma), **at)
            yield Row("weights.effective_rank", entropy_rank(sigma), **at)
            intruders = spectrum.intruders(update, self.top, self.threshold)
            yield Row("weights.intruders", float(intruders), **at)


def _heads(change: "WeightChange", tower: "Tower") -> "Iterator[Row]":
    from tunescope.probes.projections import by_head, projections

    for layer, found in groupby(projections(change.base, tower.name), lambda one: one.layer):
        squares = {
            one.component: [_square(by_head(one, w, tower.heads)) for w in change.weight(one.weight)]
            for one in found
        }
        squares["all"] = [np.sum(parts, axis=0) for parts in zip(*squares.values(), strict=True)]
        for component, both in squares.items():
            for head, (before, update) in enumerate(zip(*both, strict=True)):
                at = {"tower": tower.name, "layer": layer, "head": head, "component": component}
                yield from _sizes("heads", before, update, at)


def _together(pairs: "Iterable[Pair]") -> "tuple[float, float]":
    """‖W‖² and ‖ΔW‖² of weights taken as one vector."""
    before, update = zip(*([_square(w.reshape(1, -1)).item() for w in pair] for pair in pairs), strict=True)
    return sum(before), sum(update)


def _square(rows: "Tensor") -> "NDArray[np.float64]":
    """‖·‖² of every row."""
    return rows.double().square().sum(1).numpy()


def _sizes(kind: str, before: float, update: float, at: dict[str, Any]) -> "Iterator[Row]":
    yield Row(f"{kind}.update", math.sqrt(update), **at)
    if before:
        yield Row(f"{kind}.update_relative", math.sqrt(update / before), **at)
