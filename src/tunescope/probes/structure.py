"""The attention probe at work: forward passes watched, rows reduced, statistics over examples."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tunescope.data.examples import Examples
from tunescope.models import rows as on
from tunescope.models.encoder import TEXT_BATCH
from tunescope.models.modelmap import Tower
from tunescope.models.seam import BlockRows, watch
from tunescope.probes.probe import Subject
from tunescope.probes.running import Running
from tunescope.probes.sample import read_by
from tunescope.results.row import Row

_ELEMENTS = 2**24  # of one block's rows at a time: 64 MiB in float32


def structure(
    subject: Subject, tower: str, examples: Examples, *, every_query: bool, split: str
) -> list[Row]:
    """Every attention metric of one tower, per layer and head, over the examples."""
    place = subject.encoder.map.tower(tower)
    found = Structure(place)
    vision = place.grid is not None
    with torch.no_grad():
        for forward in _forwards(subject, place, examples):
            if every_query:
                with watch(subject.encoder, tower, "all", values=True, reduce=found.add_every):
                    forward()
                continue
            with watch(subject.encoder, tower, values=True) as seen:
                if vision:
                    with watch(subject.encoder, tower, "all", reduce=found.add_distance):
                        forward()
                else:
                    forward()
            logits, norms = seen.logits, seen.value_norms
            everyone = torch.arange(logits.shape[1], device=logits.device)
            for i, layer in enumerate(seen.layers):
                found.add(layer, logits[i], norms[i], everyone)
    return found.rows(split)


def _forwards(subject: Subject, place: Tower, examples: Examples) -> Iterator:
    """One call of the tower per batch, small enough that every row of a block fits."""
    inputs = read_by(place.name, examples)
    if place.grid is None:
        size = min(subject.batch_size, TEXT_BATCH)
    else:
        tokens = place.leading_keys + place.grid[0] * place.grid[1]
        size = max(1, min(subject.batch_size, _ELEMENTS // (place.heads * tokens**2)))
    for start in range(0, len(inputs), size):
        batch = inputs[start : start + size]
        yield lambda batch=batch: subject.encoder.features(batch)


class Structure:
    """Statistics of rows, gathered batch by batch: per example first, then over examples."""

    def __init__(self, tower: Tower):
        self.tower = tower
        self._running: defaultdict[tuple[str, int], Running] = defaultdict(Running)
        self._pooled: dict[int, tuple[np.ndarray, int]] = {}

    def add(
        self,
        layer: int,
        logits: Float[Tensor, "m h n"],
        norms: Float[Tensor, "m h n"],
        example: Int[Tensor, " m"],
    ) -> None:
        """Take in rows of one layer; `example` says which example of the batch each one is of."""
        prefix = self.tower.leading_keys
        values: dict[str, Tensor] = {}
        rows, sink = on.patches_of_logits(logits, prefix)
        if prefix:
            values["sink_mass"] = sink
        mask, norms = logits[..., prefix:] > -torch.inf, norms[..., prefix:]
        values["erf95"], values["gini"] = on.concentration(rows, mask)
        values["entropy"] = on.entropy(rows, mask)
        values["entropy_normalised"] = on.entropy_normalised(rows, mask)
        values["value_weighted_entropy"] = on.value_weighted_entropy(rows, norms, mask)
        if rows.shape[1] > 1:
            values["head_diversity"] = on.head_diversity(rows)
            self._pool(layer, _per_example(rows, example))
        for name, value in values.items():
            self._running[name, layer].add(_per_example(value, example))

    def add_every(self, block: BlockRows) -> None:
        """Take in every query of one block: patches, or real tokens that see at least two keys."""
        if self.tower.grid is None:
            wanted = block.real & (block.mask[:, 0, :, self.tower.leading_keys :].sum(-1) > 1)
        else:
            self.add_distance(block)
            wanted = block.real.clone()
            wanted[:, : self.tower.prefix_tokens] = False
        assert block.value_norms is not None
        example, query = wanted.nonzero(as_tuple=True)
        self.add(block.block, block.logits[example, :, query], block.value_norms[example], example)

    def add_distance(self, block: BlockRows) -> None:
        """Take in how far the patches of one block look."""
        tower = self.tower
        assert tower.grid is not None
        assert tower.patch_size is not None
        rows = block.logits[:, :, tower.prefix_tokens :, tower.leading_keys :].softmax(-1)
        far = on.distance(rows, tower.grid, tower.patch_size).mean(-1)
        self._running["distance", block.block].add(_numpy(far))

    def _pool(self, layer: int, rows: Float[np.ndarray, "b h n"]) -> None:
        total, n = self._pooled.get(layer, (np.zeros(rows.shape[1:]), 0))
        width = max(rows.shape[-1], total.shape[-1])  # batches of text differ in length
        self._pooled[layer] = (_widen(total, width) + _widen(rows.sum(0), width), n + len(rows))

    def rows(self, split: str) -> list[Row]:
        """One row of the table per metric, layer and head."""
        rows = []
        for (name, layer), running in self._running.items():
            std = running.std
            for index, value in np.ndenumerate(running.mean):
                rows.append(
                    Row(
                        f"attention.{name}",
                        float(value),
                        tower=self.tower.name,
                        layer=layer,
                        head=index[0] if index else None,
                        split=split,
                        std=float(std[index]) if running.n > 1 else None,
                        n=running.n,
                    )
                )
        for layer, (total, n) in self._pooled.items():
            value = float(on.head_diversity(torch.from_numpy(total / n)))
            name = "attention.head_diversity_pooled"
            rows.append(Row(name, value, tower=self.tower.name, layer=layer, split=split, n=n))
        return rows


def _per_example(values: Float[Tensor, "m ..."], example: Int[Tensor, " m"]) -> Float[np.ndarray, "b ..."]:
    """The mean over each example's queries, in float64."""
    count = torch.bincount(example)
    if len(count) == len(values):
        return _numpy(values)
    total = values.new_zeros((len(count), *values.shape[1:]), dtype=torch.float64)
    total.index_add_(0, example, values.to(torch.float64))
    return _numpy(total / count.view(-1, *[1] * (values.ndim - 1)))


def _widen(rows: Float[np.ndarray, "h n"], width: int) -> np.ndarray:
    return np.pad(rows, ((0, 0), (0, width - rows.shape[-1])))


def _numpy(values: Tensor) -> np.ndarray:
    return values.cpu().numpy().astype(np.float64)
