"""Attention over images, before and after tuning: small pictures to look at before reading on."""

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tunescope.report.formats import number
from tunescope.report.frames import Run

if TYPE_CHECKING:
    from tunescope.results.table import Table

AFTER = "attention.rollout"  # [image, patch] or [image, row, column]: each map's share of attention by patch
BEFORE = "attention.rollout.base"  # the same for the model before tuning
IMAGES = "attention.images"  # uint8 [image, height, width, 3]

SIDE = 88  # pixels of a picture on the page
COLUMNS_AT_MOST = 14
ROWS_AT_MOST = 6

# Dark to bright, so that the order of the colours survives a grey print.
RAMP = np.array(
    [[20, 11, 52], [96, 18, 110], [176, 46, 83], [234, 104, 40], [250, 178, 45], [252, 250, 180]], float
)

Arrays = Callable[[str], Mapping[str, NDArray]]  # what a run published, by its identity


@dataclass(frozen=True)
class Picture:
    """One picture as a data URI, with the words for those who do not see it."""

    uri: str
    alt: str


@dataclass(frozen=True)
class Grid:
    """Rows of images, columns of models.

    Args:
        columns: heading of each column.
        rows: one picture for each column.
        scale: a legend of the colours as a picture.
        bottom: the attention at the dark end, in multiples of an even share.
        top: the same at the bright end.
        left_out: settings for which there was no room.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Picture, ...], ...]
    scale: Picture
    bottom: float
    top: float
    left_out: tuple[str, ...]

    @property
    def caption(self) -> str:
        """How to read it."""
        images = " (left)" if self.columns[0] == "image" else ""
        left_out = f" Left out for room: {', '.join(self.left_out)}." if self.left_out else ""
        return (
            f"The same images{images}, and where the model looks: attention rolled out through all layers. "
            "Colours are multiples of an even share: at 1 a patch receives what it would if attention were "
            f"spread evenly; the darkest patches receive {number(self.bottom)} times as much or less, the "
            f"brightest {number(self.top)} times or more. All pictures share one scale. For each setting the "
            f"first seed is shown.{left_out}"
        )


def grid(runs: Sequence[Run], arrays: Arrays) -> Grid | None:
    """The first seed of each setting beside the base model, on the same images and one scale of colours.

    Args:
        runs: the runs of the table, in order.
        arrays: what a run that is done published, by name; asked of no more runs than are needed.

    Returns:
        None where no run published maps. Maps of runs with images of another size have another grid.
    """
    first: dict[str, Run] = {}
    shown: dict[str, Mapping[str, NDArray]] = {}
    for run in runs:
        if run.status == "done" and run.setting not in first:
            found = arrays(run.id)
            if AFTER in found:
                first[run.setting] = run
                if len(shown) < COLUMNS_AT_MOST - 2:
                    shown[run.name] = found
    if not first:
        return None
    maps = {name: fair_shares(found[AFTER]) for name, found in shown.items()}
    source = next((found for found in shown.values() if BEFORE in found), {})
    if BEFORE in source:
        maps = {"before tuning": fair_shares(source[BEFORE])} | maps
    images = next((found[IMAGES] for found in shown.values() if IMAGES in found), None)
    count = min(ROWS_AT_MOST, *(len(found) for found in maps.values()))
    if images is not None:
        count = min(count, len(images))
    if count == 0:
        return None
    bottom, top = _ends(np.concatenate([found[:count].ravel() for found in maps.values()]))
    return Grid(
        columns=(*(() if images is None else ("image",)), *maps),
        rows=tuple(_row(i, images, maps, bottom, top) for i in range(count)),
        scale=Picture(
            _png(_ramp(np.linspace(0, 1, 240)[None].repeat(10, 0))), f"colours from {bottom:g} to {top:g}"
        ),
        bottom=bottom,
        top=top,
        left_out=tuple(list(first)[len(shown) :]),
    )


def absent(table: "Table") -> str:
    """Why there is no grid, in a sentence."""
    if table.rows.column("tower").unique().drop_null().to_pylist() == ["text"]:
        return "Maps are laid over images, and these runs read texts."
    return "No attention maps were published: the study has no attention probe, or no run of it was measured."


def fair_shares(maps: NDArray) -> NDArray[np.float64]:
    """Attention by patch as multiples of an even share: patches × probability.

    Args:
        maps: `[image, patch]` of a square grid, or `[image, row, column]`; each is normalised.

    Returns:
        `[image, row, column]`; 1 everywhere where attention is even.

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
    return maps / np.maximum(maps.mean(axis=(1, 2), keepdims=True), 1e-12)


def overlay(
    image: NDArray | None, shares: NDArray, bottom: float, top: float, side: int = SIDE
) -> NDArray[np.uint8]:
    """A map laid over its image in grey, up-sampled bicubically.

    Args:
        image: uint8 `[height, width, 3]`; None = the map alone.
        shares: `[row, column]`, in multiples of an even share.
        bottom: the multiple at the dark end; less is drawn as dark.
        top: the multiple at the bright end; more is drawn as bright.
        side: pixels.

    Returns:
        uint8 `[side, side, 3]`.
    """
    field = Image.fromarray(shares.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    heat = np.clip((np.asarray(field, dtype=np.float64) - bottom) / (top - bottom), 0, 1)
    colours = _ramp(heat).astype(float)
    if image is None:
        return colours.astype(np.uint8)
    grey = np.asarray(_square(image, side).convert("L"), dtype=float)[..., None].repeat(3, 2)
    weight = 0.4 + 0.4 * heat[..., None]
    return np.round((1 - weight) * grey + weight * colours).astype(np.uint8)


def _ends(shares: NDArray) -> tuple[float, float]:
    """The ends of the scale: all but the rarest values, in tenths, at least half an even share apart."""
    low, high = np.percentile(shares, (0.5, 99.5))
    bottom = math.floor(10 * low) / 10
    return bottom, max(math.ceil(10 * high) / 10, bottom + 0.5)


def _row(
    index: int, images: NDArray | None, maps: Mapping[str, NDArray], bottom: float, top: float
) -> tuple[Picture, ...]:
    image = None if images is None else images[index]
    cells = [
        Picture(_png(overlay(image, found[index], bottom, top)), f"attention over image {index + 1}: {name}")
        for name, found in maps.items()
    ]
    if image is None:
        return tuple(cells)
    return (Picture(_png(np.asarray(_square(image, SIDE))), f"image {index + 1}"), *cells)


def _square(image: NDArray, side: int) -> Image.Image:
    return Image.fromarray(np.asarray(image, dtype=np.uint8)).resize((side, side), Image.Resampling.LANCZOS)


def _ramp(heat: NDArray) -> NDArray[np.uint8]:
    """0…1 → colours of the ramp, uint8 with a last axis of 3."""
    places = np.linspace(0, 1, len(RAMP))
    return np.stack([np.interp(heat, places, RAMP[:, c]) for c in range(3)], axis=-1).round().astype(np.uint8)


def _png(pixels: NDArray[np.uint8]) -> str:
    """A data URI; a palette of 96 colours keeps a picture at a few kilobytes."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels).quantize(96, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
