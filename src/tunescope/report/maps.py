"""Attention over images, before, while and after a model was tuned: the maps that runs published."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tunescope.report.frames import Run

if TYPE_CHECKING:
    from tunescope.results.table import Table

AFTER = "attention.rollout"  # [image, patch] or [image, row, column]: each map's share of attention by patch
POOLED = "attention.pooled"  # [image, layer, row, column]: the pooling token's own, by layer
BASE = ".base"  # behind a name: the same of the model before tuning
MONITOR = "monitor."  # before a name: the same at `monitor.steps`, as its first axis
IMAGES = "attention.images"  # uint8 [image, height, width, 3]
IDS = "attention.image_ids"  # uint8 [image, 8]

COLUMNS_AT_MOST = 14  # with the images and the base
ROWS_AT_MOST = 6

Arrays = Callable[[str], Mapping[str, NDArray]]  # what a run published, by its identity
Maps = NDArray[np.float64]  # [image, row, column], in multiples of an even share


@dataclass(frozen=True)
class Kind:
    """One kind of map, and the ends of its colours.

    Args:
        key: how the columns call it.
        label: what a reader calls it.
        bottom: the attention at the dark end, in multiples of an even share.
        top: the same at the bright end.
    """

    key: str
    label: str
    bottom: float
    top: float


@dataclass(frozen=True)
class Column:
    """One model.

    Args:
        name: of the run, or what it is.
        maps: by kind, as the model is now.
        group: of the run; empty for the base.
        seed: of the run, where the table says it.
        steps: after which it was looked at while it was tuned, ascending, all before the last one.
        total: steps that were taken.
        looks: by kind, a first axis of `steps` before those of `maps`.
    """

    name: str
    maps: Mapping[str, Maps]
    group: str = ""
    seed: int | None = None
    steps: tuple[int, ...] = ()
    total: int = 0
    looks: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def nearest(self, share: float) -> int:
        """The look whose share of all steps is nearest to `share`.

        >>> Column("a", {}, steps=(0, 10, 20), total=40).nearest(0.3)
        1
        """
        return int(np.argmin([abs(step / self.total - share) for step in self.steps]))

    def at(self, kind: str, share: float | None) -> Maps | None:
        """Its maps of a kind at a share of its steps; as it is now for None, or if nobody looked."""
        if share is None or not self.steps:
            return self.maps.get(kind)
        return self.looks[kind][self.nearest(share)] if kind in self.looks else None

    def said(self, share: float | None) -> str:
        """When that was."""
        if not self.group:
            return ""
        if share is None or not self.steps:
            return "tuned"
        return f"step {self.steps[self.nearest(share)]} of {self.total}"


@dataclass(frozen=True)
class Grid:
    """Rows of images, columns of models.

    Args:
        images: uint8 `[image, height, width, 3]`; None where no run published them.
        columns: the base first, where its maps are known.
        kinds: at least one.
        left_out: settings for which there was no room.
    """

    images: NDArray[np.uint8] | None
    columns: tuple[Column, ...]
    kinds: tuple[Kind, ...]
    left_out: tuple[str, ...]

    @cached_property
    def count(self) -> int:
        """How many images."""
        return min(len(maps) for column in self.columns for maps in column.maps.values())

    def shares(self, at_most: int) -> tuple[float, ...]:
        """When the models were looked at while they were tuned, as shares of all steps; the end is not one.

        Args:
            at_most: so many, spread evenly.
        """
        longest = max(self.columns, key=lambda column: len(column.steps))
        places = np.linspace(0, len(longest.steps) - 1, min(at_most, len(longest.steps))).round().astype(int)
        return tuple(longest.steps[place] / longest.total for place in places)


def grid(runs: Sequence[Run], arrays: Arrays) -> Grid | None:
    """The first seed of each setting beside the base model, on the same images.

    Args:
        runs: the runs of the table, in order.
        arrays: what a run that is done published, by name; asked of no more runs than are needed.

    Returns:
        None where no run published maps. Maps of runs with images of another size have another grid.
    """
    first: dict[str, Run] = {}
    shown: list[tuple[Run, Mapping[str, NDArray]]] = []
    for run in runs:
        if run.status == "done" and run.setting not in first:
            found = arrays(run.id)
            if AFTER in found:
                first[run.setting] = run
                if len(shown) < COLUMNS_AT_MOST - 2:
                    shown.append((run, found))
    if not shown:
        return None
    published = [found for _, found in shown]
    images = next((found[IMAGES] for found in published if IMAGES in found), None)
    lengths = [len(found[name]) for found in published for name in (AFTER, AFTER + BASE) if name in found]
    count = min(ROWS_AT_MOST, *lengths, *(() if images is None else (len(images),)))
    if count == 0:
        return None
    columns = [_tuned(run, found, count) for run, found in shown]
    if base := next((_maps(found, count, BASE) for found in published if AFTER + BASE in found), None):
        columns.insert(0, Column("before tuning", base))
    left_out = tuple(list(first)[len(shown) :])
    return Grid(None if images is None else images[:count], tuple(columns), _kinds(columns), left_out)


def absent(table: "Table") -> str:
    """Why there is no grid, in a sentence."""
    if table.rows.column("tower").unique().drop_null().to_pylist() == ["text"]:
        return "Maps are laid over images, and these runs read texts."
    return "No attention maps were published: the study has no attention probe, or no run of it was measured."


def fair_shares(maps: NDArray) -> NDArray[np.float64]:
    """Attention by patch as multiples of an even share: patches × probability.

    Args:
        maps: `[image, patch]` of a square grid, or `[…, image, row, column]`; each is normalised.

    Returns:
        `[…, image, row, column]`; 1 everywhere where attention is even.

    >>> fair_shares(np.array([[0.25, 0.25, 0.5, 0.0]]))[0].tolist()
    [[1.0, 1.0], [2.0, 0.0]]
    """
    maps = np.asarray(maps, dtype=np.float64)
    if maps.ndim == 2:
        side = math.isqrt(maps.shape[1])
        if side * side != maps.shape[1]:
            raise ValueError(f"{maps.shape[1]} patches are no square grid; expected [image, row, column]")
        maps = maps.reshape(len(maps), side, side)
    maps = np.nan_to_num(maps, nan=0.0, posinf=0.0, neginf=0.0)
    return maps / np.maximum(maps.mean(axis=(-2, -1), keepdims=True), 1e-12)


def _maps(found: Mapping[str, NDArray], count: int, which: str = "") -> dict[str, Maps]:
    """Every kind of map of one model: rolled out, then by layer from the last one down."""
    maps = {"rollout": fair_shares(found[AFTER + which][:count])}
    pooled = found.get(POOLED + which)
    if pooled is not None and len(pooled) >= count:
        maps |= {f"layer {i}": fair_shares(pooled[:count, i]) for i in reversed(range(pooled.shape[1]))}
    return maps


def _tuned(run: Run, found: Mapping[str, NDArray], count: int) -> Column:
    seed = run.factors.get("seed")
    column = Column(run.name, _maps(found, count), run.group, seed if isinstance(seed, int) else None)
    steps, total = found.get(MONITOR + "steps"), int(found.get(MONITOR + "total", 0))
    ids, seen = found.get(IDS), found.get(MONITOR + IDS)
    if steps is None or ids is None or seen is None or MONITOR + AFTER not in found:
        return column
    before = steps < total
    if seen.shape[1] < count or not (seen[:, :count] == ids[:count]).all() or not before.any():
        return column  # of other images
    looks = {"rollout": fair_shares(found[MONITOR + AFTER][before, :count])}
    pooled = found.get(MONITOR + POOLED)
    if pooled is not None:
        by_layer = fair_shares(pooled[before, :count])
        looks |= {f"layer {i}": by_layer[:, :, i] for i in range(pooled.shape[2])}
    taken = tuple(int(step) for step in steps[before])
    return Column(column.name, column.maps, column.group, column.seed, taken, total, looks)


def _kinds(columns: Sequence[Column]) -> tuple[Kind, ...]:
    """What can be chosen. All layers share one scale, so that they can be compared."""
    names = list(dict.fromkeys(name for column in columns for name in column.maps))
    layers = sorted((name for name in names if name != "rollout"), key=lambda name: -int(name.split()[1]))
    rollout = Kind("rollout", "rollout through all layers", *_ends(columns, ["rollout"]))
    if len(layers) == 1 and all(_one_row(column) for column in columns):
        return (Kind("rollout", "the pooling head's own row", rollout.bottom, rollout.top),)
    ends = _ends(columns, layers) if layers else (0.0, 0.0)
    labels = [f"{layer}, the last" if layer == layers[0] else layer for layer in layers]
    return (rollout, *(Kind(layer, label, *ends) for layer, label in zip(layers, labels, strict=True)))


def _one_row(column: Column) -> bool:
    """Whether an attention head pools, so that there is nothing to roll out."""
    own = column.maps.get("layer 0")
    return own is not None and np.allclose(own, column.maps["rollout"], rtol=0.01, atol=0.01)


def _ends(columns: Sequence[Column], kinds: Sequence[str]) -> tuple[float, float]:
    """The ends of the scale: all but the rarest values, in tenths, at least half an even share apart."""
    every = [
        source[kind]
        for column in columns
        for source in (column.maps, column.looks)
        for kind in kinds
        if kind in source
    ]
    low, high = np.percentile(np.concatenate([found.ravel() for found in every]), (0.5, 99.5))
    bottom = math.floor(10 * low) / 10
    return bottom, max(math.ceil(10 * high) / 10, bottom + 0.5)
