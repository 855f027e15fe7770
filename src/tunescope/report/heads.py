"""The heads of each setting: means over its runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunescope.stats.headwise import RunHeads

HEADS_AT_MOST = 3000  # heads of all settings that one chart embeds


@dataclass(frozen=True)
class SettingHeads:
    """The heads of one setting and one part of the model.

    Args:
        setting: the runs' name without their seed.
        group: the setting's group.
        tower: `vision` or `text`.
        part: which tower, and under which head on top of it losses were read, in words.
        runs: how many runs the means are of.
        values: [layers, heads] by quantity, as in `RunHeads`: means over the runs that have the number.
        before: the quantity that is importance before tuning; None where it is not known.
    """

    setting: str
    group: str
    tower: str
    part: str
    runs: int
    values: Mapping[str, NDArray[np.float64]]
    before: str | None

    def get(self, quantity: str | None) -> NDArray[np.float64] | None:
        """A quantity's numbers; None where no run of the setting has one."""
        return None if quantity is None else self.values.get(quantity)


def part(heads: RunHeads) -> str:
    """Which part of the model these heads are of, in words."""
    return part_of(heads.tower, heads.component)


def part_of(tower: str | None, component: str | None) -> str:
    """A tower, and the head on top of it under which losses were read, in words.

    >>> part_of("vision", "trained"), part_of("text", None)
    ('vision tower, trained head', 'text tower')
    """
    return f"{tower or 'only'} tower" + (f", {component} head" if component else "")


def by_setting(found: Sequence[RunHeads]) -> list[SettingHeads]:
    """Means over the runs of each setting, in the order of the runs, as far as there is room for them.

    Settings are kept whole, from the first, until `HEADS_AT_MOST` heads are together.
    """
    together: dict[str, dict[str, list[RunHeads]]] = {}
    for heads in found:
        together.setdefault(heads.setting, {}).setdefault(part(heads), []).append(heads)
    kept: list[SettingHeads] = []
    room = HEADS_AT_MOST
    for setting, parts in together.items():
        room -= sum(math.prod(runs[0].shape) for runs in parts.values())
        if kept and room < 0:
            break
        kept += [_setting(setting, where, runs) for where, runs in parts.items()]
    return kept


def _setting(setting: str, where: str, runs: Sequence[RunHeads]) -> SettingHeads:
    first = runs[0]
    alike = [heads for heads in runs if heads.shape == first.shape]
    quantities = dict.fromkeys(name for heads in alike for name in heads.values)
    values = {name: _mean([h.values[name] for h in alike if name in h.values]) for name in quantities}
    return SettingHeads(setting, first.group, first.tower, where, len(alike), values, first.before)


def by_tower(found: Sequence[SettingHeads]) -> dict[str, list[SettingHeads]]:
    """Each setting once a tower: weights move alike under whatever head losses are read."""
    towers: dict[str, dict[str, SettingHeads]] = {}
    for one in found:
        towers.setdefault(one.tower, {}).setdefault(one.setting, one)
    return {tower: list(settings.values()) for tower, settings in towers.items()}


def _mean(arrays: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    stacked = np.stack(arrays)
    known = np.isfinite(stacked)
    count = known.sum(0)
    total = np.where(known, stacked, 0.0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def places(shape: tuple[int, int]) -> dict[str, list[int]]:
    """The columns `layer` and `head` of every head, in the order of a raveled array.

    >>> places((2, 2))
    {'layer': [0, 0, 1, 1], 'head': [0, 1, 0, 1]}
    """
    layers, heads = np.indices(shape)
    return {"layer": layers.ravel().tolist(), "head": heads.ravel().tolist()}
