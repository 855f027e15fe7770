"""Straggler sparsity: the layers that hold the others back, made sparse."""

import copy
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from tunescope.errors import MethodError
from tunescope.training.after import Edit

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tunescope.data.examples import Examples
    from tunescope.landscape.plain import Walk
    from tunescope.methods.method import Installed
    from tunescope.results.row import Row
    from tunescope.training.history import Log
    from tunescope.training.score import Score

Part = Annotated[float, Field(ge=0, le=1)]
TENTHS = tuple(tenth / 10 for tenth in range(11))
Z = 2.0


class Begun(NamedTuple):
    """The model before its first step."""

    installed: "Installed"
    head: "nn.Module"
    names: tuple[str, ...]
    head_origin: "dict[str, Tensor]"


class StragglerSparsity(Edit):
    """Takes a share of what tuning did to the straggler layers back, or of their weights out.

    A straggler is a block whose score stands out: how far the validation loss, with that block alone at
    (1 − α)·θ₀ + α·θ₁, rises above the line between its ends (its barrier), or from α = 1 to α = 0
    (`rewind`), is above 0 and has a robust z above `threshold`. Of the weights
    of each that the method changes, `share` is set back to θ₀, or to zero, as `landscape.sparsify` says; all
    drawing is from the run's seed. Where no layer stands out none is changed, and `after.stragglers` is 0.

    Then the model may walk back, head and all, as WiSE-FT does: θ(α) = (1 − α)·θ₀ + α·θ₁', θ₁' the sparse
    one. With `share: val` or `alpha: val` the best of `shares` and `alphas`, each with each, is taken by
    accuracy on the validation examples of the task alone, or by loss where numbers are predicted; among
    equals the smallest share, then the largest α: the closest to what was tuned.

    Effective weights are edited: adapters are merged first, and the result is a plain model, with no adapter
    to take off. Methods that cannot be merged are refused.

    Source: arXiv 2410.16476 for sparsity in straggler layers; its options are this house's reading of it.

    Args:
        layers: which blocks, from 0, in the place of stragglers; none = by their scores.
        top: so many blocks with the largest scores above 0, in the place of a threshold.
        threshold: of the robust z of a score.
        score: `barrier`, or `rewind`.
        points: number of α from 0 to 1 that a barrier is measured at.
        subset: on so many validation examples, spread evenly; all where there are fewer.
        share: of the layer's weights, or `val`.
        shares: what `val` chooses from.
        of: with `by: magnitude`, that of the change, or of the weight itself.
        to: `base`: back to θ₀; `zero`: to zero, matrices alone.
        by: `random`, or the smallest `magnitude` first.
        rescale: whether the others make up for them: the change by N / (N − k), a matrix by its norm.
        alpha: α, or `val`; 1 is the sparse model.
        alphas: what `val` chooses from.

    >>> StragglerSparsity(share=0.9, rescale=True).kind
    'straggler_sparsity'
    """

    kind: str = "straggler_sparsity"
    source: ClassVar[str] = "arXiv 2410.16476; Yu et al. 2024, arXiv 2311.03099, section 3"
    merges: ClassVar[bool] = True
    layers: tuple[Annotated[int, Field(ge=0)], ...] = ()
    top: Annotated[int, Field(ge=1)] | None = None
    threshold: Annotated[float, Field(gt=0)] = Z
    score: Literal["barrier", "rewind"] = "barrier"
    points: Annotated[int, Field(ge=3)] = 11
    subset: Annotated[int, Field(ge=1)] = 256
    share: Part | Literal["val"] = 0.5
    shares: Annotated[tuple[Part, ...], Field(min_length=2)] = TENTHS
    of: Literal["change", "weight"] = "change"
    to: Literal["base", "zero"] = "base"
    by: Literal["random", "magnitude"] = "random"
    rescale: bool = False
    alpha: Part | Literal["val"] = 1.0
    alphas: Annotated[tuple[Part, ...], Field(min_length=2)] = TENTHS

    @model_validator(mode="after")
    def _says_nothing_twice(self):
        for one, several in (("share", "shares"), ("alpha", "alphas")):
            if getattr(self, one) != "val" and getattr(self, several) != TENTHS:
                raise ValueError(f"{several} are chosen from with {one}: val; drop one")
        ways = {"layers": bool(self.layers), "top": self.top is not None, "threshold": self.threshold != Z}
        said = [name for name, given in ways.items() if given]
        if len(said) > 1:
            raise ValueError(f"{said[0]} says which layers, and so does {said[1]}; drop one")
        if len(set(self.layers)) < len(self.layers):
            raise ValueError("layers: one stands twice")
        if self.by == "random" and self.of == "weight":
            raise ValueError("of says whose magnitude counts, and by is random; drop one")
        if self.by == "magnitude" and (self.of, self.to) == ("change", "zero"):
            raise ValueError("to: zero takes out the weights that are small themselves; say of: weight")
        return self

    def check(self, installed: "Installed") -> None:
        """Merge it. Raises MethodError where that cannot be done, or leaves nothing to make sparse."""
        self._names(installed)
        try:
            installed.merge()
        except MethodError as error:
            raise MethodError(f"{self.kind} edits merged weights: {error}") from None

    def begin(self, installed: "Installed", head: "nn.Module") -> Begun:
        """What is changed, by name, and the head's starting point. Raises MethodError as `check`."""
        before = {name: value.detach().clone() for name, value in head.named_parameters()}
        return Begun(installed, head, self._names(installed), before)

    def finish(self, begun: Begun, score: "Score", log: "Log") -> "list[Row]":
        """Leave the model, which has been merged, sparse and at α."""
        from tunescope.landscape.plain import Walk
        from tunescope.methods.line import Line
        from tunescope.models.load import load
        from tunescope.results.row import Row

        encoder, spec = begun.installed.encoder, score.spec
        held = {name: encoder.model.get_parameter(name) for name in begun.names}
        tuned = {name: value.detach().clone() for name, value in held.items()}
        base = load(spec.model, spec.image_size, spec.max_tokens)
        layers = self.layers
        if not layers:
            with Walk(base, tuned, device=encoder.device) as walk:
                head = copy.deepcopy(begun.head, {id(encoder): base}).eval()
                layers = self._stragglers(walk, head, score.val, spec.train.batch_size, log)
        start = {name: base.model.get_parameter(name).detach().to(encoder.device) for name in held}
        blocks = {layer: encoder.map.tower(score.val.tower).blocks[layer].path for layer in layers}
        back = Line(dict(begun.head.named_parameters()), begun.head_origin)

        def lines(share: float) -> list[Line]:
            """Make the model sparse, and draw the line that it walks back on, if it is to."""
            sparse = self._sparse(tuned, start, blocks, share, spec.seed)
            for name, value in held.items():
                value.detach().copy_(sparse.get(name, tuned[name]))
            return [] if self.alpha == 1 else [Line(held, start), back]

        best: tuple[float, float, float] | None = None
        for share in (self.share,) if self.share != "val" else sorted(self.shares, reverse=True):
            ways = lines(share)
            for alpha in (self.alpha,) if self.alpha != "val" else sorted(self.alphas):
                for line in ways:
                    line.at(alpha)
                value = score()
                log({"after": self.kind, "share": share, "alpha": alpha, score.name: value})
                if best is None or score.merit(value) >= score.merit(best[2]):
                    best = share, alpha, value
        assert best is not None
        for line in lines(best[0]):
            line.at(best[1])
        found = {"sparsity": best[0], "stragglers": len(layers), "alpha": best[1]}
        return [*(Row(f"after.{name}", value) for name, value in found.items()), score.row(best[2])]

    def _names(self, installed: "Installed") -> tuple[str, ...]:
        from tunescope.methods.attached import Attached
        from tunescope.methods.per_tower import InstalledPerTower

        parts = installed.parts.values() if isinstance(installed, InstalledPerTower) else [installed]
        for part in parts:
            if isinstance(part, Attached):
                raise MethodError(
                    f"{self.kind} edits merged weights: {part.kind} cannot be merged: {part.reason}; tune "
                    "with full or lora"
                )
        blocks = [block.path for block in installed.encoder.map.tower(installed.tower).blocks]
        for layer in self.layers:
            if layer >= len(blocks):
                raise MethodError(
                    f"{self.kind}: layers: {layer}, but the {installed.tower} tower of "
                    f"{installed.encoder.name!r} has {len(blocks)}, counted from 0"
                )
        weights = installed.weights()
        inside = [w for name, w in weights.items() if any(name.startswith(f"{path}.") for path in blocks)]
        what = "weights" if self.to == "base" else "matrices"
        if not any(self.to == "base" or weight.dim() > 1 for weight in inside):
            raise MethodError(
                f"{self.kind}: the method changes no {what} of the {installed.tower} tower's blocks, so "
                "there is nothing to make sparse; tune with full or lora"
            )
        return tuple(weights)

    def _stragglers(
        self, walk: "Walk", head: "nn.Module", val: "Examples", batch_size: int, log: "Log"
    ) -> tuple[int, ...]:
        import numpy as np

        from tunescope.data.sample import few
        from tunescope.landscape.layers import layer_losses
        from tunescope.landscape.stragglers import points_of, scores, stragglers

        at = points_of(self.score, self.points)
        losses = layer_losses(walk, val.tower, head, few(val, self.subset), at, batch_size)
        by_layer = scores(self.score, at, losses)
        found = stragglers(by_layer, self.top or 1, self.threshold)
        chosen = np.flatnonzero(found.marked) if self.top is None else np.sort(found.top)
        log({"after": self.kind, "stragglers": chosen.tolist(), f"{self.score}s": by_layer.tolist()})
        return tuple(chosen.tolist())

    def _sparse(
        self,
        tuned: "dict[str, Tensor]",
        start: "dict[str, Tensor]",
        blocks: dict[int, str],
        share: float,
        seed: int,
    ) -> "dict[str, Tensor]":
        import numpy as np

        from tunescope.landscape.sparsify import sparsify

        found: dict[str, Tensor] = {}
        for layer, path in blocks.items():
            inside = {name: value for name, value in tuned.items() if name.startswith(f"{path}.")}
            drawn = int(np.random.SeedSequence([seed, layer]).generate_state(1, np.uint64)[0])
            how = {"of": self.of, "to": self.to, "by": self.by, "rescale": self.rescale}
            found |= sparsify(inside, start, share, **how, seed=drawn)
        return found
