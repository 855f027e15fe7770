"""The page's section of attention maps: the pictures it brings, and what a script may draw instead."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tunescope.report.formats import number, percent
from tunescope.report.map_pictures import RAMP, SIDE, Picture, heat, jpeg, overlay, png, ramp, square
from tunescope.report.maps import Column, Grid, Kind

BYTES_AT_MOST = 270_000  # of maps for the script; a third more as text
LOOKS_AT_MOST = 11  # places of the slider besides the end
PATCHES_AT_MOST = 24  # along a side: at 88 pixels more would not be seen


@dataclass(frozen=True)
class Section:
    """The grid as the page shows it.

    What is drawn without a script is each model as it is, its rollout. A script may draw every kind of map
    that there is and, where models were looked at while they were tuned, any of these looks.

    Args:
        grid: what there is.
    """

    grid: Grid

    @cached_property
    def caption(self) -> str:
        """How to read it."""
        images = " (left)" if self.grid.images is not None else ""
        each = ", each kind of map its own" if len(self.grid.kinds) > 1 else ""
        left_out = f" Left out for room: {', '.join(self.grid.left_out)}." if self.grid.left_out else ""
        return (
            f"The same images{images}, and where the model looks. {self._told} "
            "Colours are multiples of an even share: at 1 a patch receives what it would if attention were "
            f"spread evenly; the darkest and the brightest are at the ends of the scale, or beyond. All "
            f"pictures share one scale{each}. For each setting the first seed is shown.{left_out}"
        )

    @property
    def _told(self) -> str:
        first = self.grid.kinds[0]
        if "rollout" not in first.label:
            return f"The map is {first.label}, the mean over its attention heads."
        by_layer = (
            " A layer's own map is the row of the token that is read, the mean over its attention heads."
        )
        return "The rollout multiplies attention through all layers." + by_layer * (len(self.grid.kinds) > 1)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The models."""
        return self.grid.columns

    @cached_property
    def images(self) -> tuple[Picture, ...]:
        """The images themselves; none where no run published them."""
        found = () if self.grid.images is None else self.grid.images
        return tuple(Picture(png(np.asarray(square(one))), f"image {i}") for i, one in enumerate(found, 1))

    @cached_property
    def rows(self) -> tuple[tuple[Picture, ...], ...]:
        """For each image one picture of each model as it is."""
        kind = self.grid.kinds[0]
        return tuple(
            tuple(
                Picture(
                    jpeg(overlay(image, heat(column.maps[kind.key][i], kind))),
                    f"attention over image {i + 1}: {column.name}",
                )
                for column in self.columns
            )
            for i, image in enumerate(pictured(self.grid))
        )

    @property
    def scale(self) -> Picture:
        """The legend of the colours."""
        return Picture(
            png(ramp(np.linspace(0, 1, 240)[None].repeat(10, 0))), "from dark, least, to bright, most"
        )

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """The places of the slider before the last one, as shares of all steps; as many as have room."""
        for at_most in range(LOOKS_AT_MOST, 0, -1):
            shares = self.grid.shares(at_most)
            if (
                not shares
                or sum(_size(self.grid, kind, (*shares, None)) for kind in _first(self.grid)) <= BYTES_AT_MOST
            ):
                return shares
        return ()

    @cached_property
    def kept(self) -> tuple[tuple[Kind, tuple[float | None, ...]], ...]:
        """Each kind of map that can be chosen, and when: the rollout and the last layer at every place.

        The other layers at every place too, else only as the model is, else not at all: what there is room
        for.
        """
        every, end = (*self.shares, None), (None,)
        first, others = _first(self.grid), self.grid.kinds[2:]
        room = BYTES_AT_MOST - sum(_size(self.grid, kind, every) for kind in first)
        found = [(kind, every) for kind in first]
        for when in dict.fromkeys((every, end)):
            if sum(_size(self.grid, kind, when) for kind in others) <= room:
                return (*found, *((kind, when) for kind in others))
        return tuple(found)

    @cached_property
    def data(self) -> dict[str, Any]:
        """All of it for the script: maps as base64 of one byte for each patch, images one after the other."""
        every = (*self.shares, None)
        return {
            "side": SIDE,
            "ramp": RAMP.astype(int).tolist(),
            "grids": [_packed(column.maps["rollout"]).shape[1:] for column in self.columns],
            "places": [self.said(share) for share in every],
            "said": [[column.said(share) for column in self.columns] for share in every],
            "kinds": [
                {
                    "label": kind.label,
                    "ends": [f"{number(end)} ×" for end in (kind.bottom, kind.top)],
                    "maps": [[_coded(column, kind, share) for column in self.columns] for share in when],
                }
                for kind, when in self.kept
            ],
        }

    def said(self, share: float | None) -> str:
        """A place of the slider in words."""
        if share is None:
            return "tuned, as published"
        said = {column.said(share) for column in self.columns if column.steps}
        first = ", before the first" if share == 0 else ""
        return (said.pop() if len(said) == 1 else f"{percent(share)} of the steps") + first


def section(grid: Grid | None) -> Section | None:
    """The section of a grid, where there is one."""
    return None if grid is None else Section(grid)


def pictured(grid: Grid) -> Sequence[NDArray[np.uint8] | None]:
    """The images that the maps are laid over."""
    return [None] * grid.count if grid.images is None else list(grid.images)


def _first(grid: Grid) -> tuple[Kind, ...]:
    """The kinds that come before all others where there is little room."""
    return grid.kinds[:2]


def _size(grid: Grid, kind: Kind, when: Sequence[float | None]) -> int:
    """The bytes of a kind's maps."""
    places = ((column, share) for column in grid.columns for share in when)
    found = (column.at(kind.key, share) for column, share in places if not _as_at_the_end(column, share))
    return sum(_packed(maps).size for maps in found if maps is not None)


def _as_at_the_end(column: Column, share: float | None) -> bool:
    """Whether nobody looked at the model before, so that it is shown as it is."""
    return share is not None and not column.steps


def _packed(maps: NDArray) -> NDArray:
    """Maps of at most so many patches along a side."""
    if max(maps.shape[1:]) <= PATCHES_AT_MOST:
        return maps
    height, width = (min(side, PATCHES_AT_MOST) for side in maps.shape[1:])
    fields = [Image.fromarray(one.astype(np.float32)) for one in maps]
    return np.stack([np.asarray(field.resize((width, height), Image.Resampling.BOX)) for field in fields])


def _coded(column: Column, kind: Kind, share: float | None) -> str | None:
    """Maps as base64; empty where they are those of the last place, None where they were not measured."""
    if _as_at_the_end(column, share):
        return ""
    if (maps := column.at(kind.key, share)) is None:
        return None
    levels = np.round(255 * heat(_packed(maps), kind)).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode("ascii")
