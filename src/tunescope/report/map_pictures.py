"""Maps of attention as pictures: laid over their image in grey, in colours from dark to bright."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tunescope.report.maps import Kind

SIDE = 88  # pixels of a picture on the page

# Dark to bright, so that the order of the colours survives a grey print.
RAMP = np.array(
    [[20, 11, 52], [96, 18, 110], [176, 46, 83], [234, 104, 40], [250, 178, 45], [252, 250, 180]], float
)


@dataclass(frozen=True)
class Picture:
    """One picture as a data URI, with the words for those who do not see it."""

    uri: str
    alt: str


def heat(shares: NDArray, kind: Kind) -> NDArray[np.float64]:
    """Multiples of an even share → 0 at the dark end of a kind's colours and below, 1 at the bright end."""
    return np.clip((np.asarray(shares, float) - kind.bottom) / (kind.top - kind.bottom), 0, 1)


def overlay(image: NDArray | None, heat: NDArray, side: int = SIDE) -> NDArray[np.uint8]:
    """A map laid over its image in grey, up-sampled bicubically.

    Args:
        image: uint8 `[height, width, 3]`; None = the map alone.
        heat: `[row, column]`, 0…1.
        side: pixels.

    Returns:
        uint8 `[side, side, 3]`.
    """
    field = Image.fromarray(heat.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    warm = np.clip(np.asarray(field, dtype=np.float64), 0, 1)
    colours = ramp(warm).astype(float)
    if image is None:
        return colours.astype(np.uint8)
    grey = np.asarray(square(image, side).convert("L"), dtype=float)[..., None].repeat(3, 2)
    weight = 0.4 + 0.4 * warm[..., None]
    return np.round((1 - weight) * grey + weight * colours).astype(np.uint8)


def square(image: NDArray, side: int = SIDE) -> Image.Image:
    """An image as it stands beside its maps."""
    return Image.fromarray(np.asarray(image, dtype=np.uint8)).resize((side, side), Image.Resampling.LANCZOS)


def ramp(heat: NDArray) -> NDArray[np.uint8]:
    """0…1 → colours of the ramp, uint8 with a last axis of 3."""
    places = np.linspace(0, 1, len(RAMP))
    return np.stack([np.interp(heat, places, RAMP[:, c]) for c in range(3)], axis=-1).round().astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> str:
    """A data URI; a palette of 96 colours keeps a picture at a few kilobytes."""
    image = Image.fromarray(pixels).quantize(96, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return _uri(image, "PNG", optimize=True)


def jpeg(pixels: NDArray[np.uint8]) -> str:
    """A data URI of half the size, for a page of many."""
    return _uri(Image.fromarray(pixels), "JPEG", quality=70, optimize=True)


def _uri(image: Image.Image, format: str, **settings: bool | int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format, **settings)
    return f"data:image/{format.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
