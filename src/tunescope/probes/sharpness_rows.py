"""The sharpness probe at work: batch by batch, part by part, at one α after the other."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from tunescope.data.examples import Examples
from tunescope.landscape.batch import Batch
from tunescope.landscape.layers import Layer, layers
from tunescope.landscape.on_top import OnTop
from tunescope.landscape.plain import Walk
from tunescope.landscape.sharpness import Ask, Found, of_blocks, of_tower, summary
from tunescope.landscape.stragglers import points_of, scores, stragglers
from tunescope.models.encoder import Encoder
from tunescope.probes.probe import Subject
from tunescope.results.row import Row

if TYPE_CHECKING:
    from tunescope.probes.sharpness import SharpnessProbe

POINTS = 11  # α of a straggler's barrier
LAYER = "landscape.layer_sharpness_"
ELSEWHERE = {
    "kinds",
    "radii",
    "reference",
    "layers",
    "stragglers",
    "straggler_score",
    "roles",
    "along",
}  # settings of other keys
Where = tuple[int | None, str | None]  # block and role; all of the tower, where both are None


def sharpness_rows(probe: "SharpnessProbe", subject: Subject, walk: Walk, part: Examples) -> list[Row]:
    """What the probe writes of one model; no rows where there is no head to read it by.

    Args:
        probe: its settings.
        subject: whose tower and head.
        walk: from the base to the tuned model; of the base, a walk without another end.
        part: the examples.
    """
    work = _Work(probe, subject, walk, part)
    if not work.components:
        return []
    if subject.change is None:
        return work.rows(0.0)
    if probe.stragglers:
        work.find_stragglers()
    rows = work.rows(1.0)
    for alpha in sorted({*probe.along}):
        rows += work.rows(alpha, along=True)
    return rows


class _Work:
    def __init__(self, probe: "SharpnessProbe", subject: Subject, walk: Walk, part: Examples):
        self._probe, self._subject, self._walk, self._part = probe, subject, walk, part
        self._on_top = OnTop(walk, subject.head, tuned=subject.encoder)
        self.components = self._on_top.components(probe.split, part)
        self._starts = range(0, len(part), probe.batch)
        self._stragglers: dict[str, list[int]] = {}  # by component
        self._done = 0

    def find_stragglers(self) -> None:
        """The layers with the largest scores, under each head, on the same examples."""
        probe = self._probe
        at = points_of(probe.straggler_score, POINTS)
        with self._walk.at(1.0):
            heads = self._on_top.at(1.0, probe.split, self._part)
            each = layers(self._walk, self._subject.tower, heads, self._part, self._subject.batch_size)
            found = []
            for number, layer in enumerate(each):
                key = f"sharpness/layers/{probe.split}/{probe.sample}/{len(at)}/{number}"
                found.append(self._subject.kept(key, partial(_losses, layer, at)))
        for component in self.components:
            found_scores = scores(probe.straggler_score, at, np.stack([one[component] for one in found]))
            self._stragglers[component] = stragglers(found_scores, probe.stragglers).top.tolist()

    def rows(self, alpha: float, along: bool = False) -> list[Row]:
        """All rows at one α."""
        found: dict[Where, list[Found]] = defaultdict(list)
        # at the ends the weights are those of base and tuned model, moved in place and put back
        with (self._walk.at if alpha in (0, 1) else self._walk.held)(alpha) as encoder:
            with torch.no_grad():
                heads = list(self._on_top.at(alpha, self._probe.split, self._part).values())
            for start in self._starts:
                for where, one in self._batch(encoder, heads, alpha, along, start):
                    found[where].append(one)
                    self._done += 1
                    self._subject.progress("sharpness", self._done, self._total)
        measured = [row for at in found.items() for row in self._of(*at, alpha if along else None)]
        own = [row for row in measured if self._probe.layers or not row.metric.startswith(LAYER)]
        return own if along else [*own, *self._means(measured)]

    def _means(self, measured: Sequence[Row]) -> Iterator[Row]:
        """The straggler layers' rows, as one for each kind and head."""
        by_kind: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in measured:
            if row.metric.startswith(LAYER) and row.layer in self._stragglers.get(row.component or "", ()):
                by_kind[row.metric, row.component or ""].append(row)
        for (metric, _), rows in by_kind.items():
            name = metric.replace(LAYER, "landscape.straggler_sharpness_")
            mean = float(np.mean([row.value for row in rows]))
            yield rows[0]._replace(metric=name, value=mean, layer=None, std=None, n=len(rows))

    @property
    def _total(self) -> int:
        """Parts of batches, at every α."""
        probe, blocks = self._probe, len(self._walk.encoder.map.tower(self._subject.tower).blocks)
        some = len({layer for chosen in self._stragglers.values() for layer in chosen})
        whole = 1 + blocks * len(probe.roles) + (blocks if probe.layers else some)
        along = 0 if self._subject.change is None else len({*probe.along}) * (1 + blocks * probe.layers)
        return len(self._starts) * (whole + along)

    def _batch(
        self, encoder: Encoder, heads: Sequence[nn.Module], alpha: float, along: bool, start: int
    ) -> Iterator[tuple[Where, Found]]:
        probe, tower = self._probe, self._subject.tower
        own = slice(start, start + probe.batch)
        inputs, labels = self._part.inputs[own], self._part.labels[own]
        batch = Batch(encoder, inputs, labels, heads, normalise_logits=probe.normalise_logits)

        def kept(where: Where, ask: Ask, make: Callable[[], Found]) -> Found:
            said = probe.model_dump_json(exclude=ELSEWHERE)
            return self._subject.kept(f"sharpness/{probe.version}/{said}/{ask}/{alpha}/{start}/{where}", make)

        ask, at_reference = _ask(probe, whole=not along), _ask(probe, whole=False)
        nowhere: Where = (None, None)
        yield nowhere, kept(nowhere, ask, partial(of_tower, encoder, tower, batch, ask))
        roles = () if along else probe.roles
        some = set() if along else {layer for chosen in self._stragglers.values() for layer in chosen}
        if probe.layers or roles or some:
            for each in of_blocks(encoder, tower, batch, at_reference, roles):
                if each.role or probe.layers or each.layer in some:
                    where = each.layer, each.role
                    yield where, kept(where, at_reference, each.measure)

    def _of(self, where: Where, found: Sequence[Found], alpha: float | None) -> Iterator[Row]:
        """The rows of one part at one α; None = the model itself."""
        (layer, role), probe = where, self._probe
        view = "role_sharpness" if role else "sharpness" if layer is None else "layer_sharpness"
        sizes = [len(self._part.labels[start : start + probe.batch]) for start in self._starts]
        place: dict[str, Any] = {"tower": self._subject.tower, "split": probe.split, "layer": layer}
        ask = _ask(probe, whole=layer is None and alpha is None)
        for kind in found[0]:
            metric = f"landscape.{view}{'' if alpha is None else '_along'}_{kind}"
            one = summary(kind, [each[kind] for each in found], sizes)
            reference = getattr(probe.reference, kind, None)
            for k, component in enumerate(self.components):
                place["component"] = component if role is None else f"{component}.{role}"
                for at, radius in enumerate(ask.radii.get(kind, (None,))):
                    std = None if one.std is None else float(one.std[k, at])
                    row = Row(metric, float(one.value[k, at]), std=std, n=one.n, point=alpha, **place)
                    if radius == reference:
                        yield row
                    if layer is None and alpha is None and radius is not None:
                        yield row._replace(point=radius)


def _losses(layer: Layer, at: Float[np.ndarray, " a"]) -> dict[str, np.ndarray]:
    """By head, with one layer alone at each α."""
    each = [layer.at(alpha) for alpha in at.tolist()]
    return {head: np.array([one[head].loss for one in each]) for head in each[0]}


def _ask(probe: "SharpnessProbe", whole: bool) -> Ask:
    """What is measured of all the tower's weights, or of a part of them or on the path: at one ρ alone."""
    radii = {}
    for kind in probe.kinds:
        reference = getattr(probe.reference, kind, None)
        if reference is not None:
            grid = getattr(probe.radii, kind) if whole else ()
            radii[kind] = tuple(sorted({*grid, reference}))
    hessian = tuple(kind for kind in probe.kinds if kind.startswith("hessian"))
    return Ask(radii, hessian, probe.draws, probe.steps, probe.seed)
