"""From any picture to the square of pixels that a model was trained on. Torch-free."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tunescope.errors import ModelError
from tunescope.models import source

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)

Channels = tuple[float, float, float]

# What each family's processor does where its file is silent, by the start of its class name.
_CROPPED: dict[str, Any] = {"size": {"shortest_edge": 224}, "crop_size": 224, "do_center_crop": True}
_CLIP = {**_CROPPED, "resample": 3, "image_mean": CLIP_MEAN, "image_std": CLIP_STD}
STANDARD: dict[str, dict[str, Any]] = {
    "CLIP": _CLIP,
    "Bit": _CLIP,
    "Siglip": {"size": 224, "resample": 3, "image_mean": HALF, "image_std": HALF},
    "ViT": {"size": 224, "resample": 2, "image_mean": HALF, "image_std": HALF},
}


@dataclass(frozen=True)
class Preprocess:
    """How a model wants its images.

    Args:
        size: pixels of the square that comes out.
        resize: `shortest` keeps the proportions and brings the shortest side to `edge`; `stretch` does not.
        crop: whether the centre is then cut out.
        edge: pixels of the shortest side before the crop; equal to `size` where nothing is cropped off.
        resample: PIL's number of the filter: 2 bilinear, 3 bicubic.
        mean: per channel, of pixels in 0 … 1.
        std: per channel.
    """

    size: int
    resize: Literal["shortest", "stretch"]
    crop: bool
    edge: int
    resample: int
    mean: Channels
    std: Channels

    @property
    def key(self) -> str:
        """What decides the array of a picture, in one line: every setting but mean and std.

        >>> Preprocess(224, "shortest", True, 256, 3, HALF, HALF).key
        'shortest 256 crop 224 filter 3'
        """
        crop = "crop" if self.crop else "whole"
        return f"{self.resize} {self.edge} {crop} {self.size} filter {self.resample}"

    def array(self, image: Image.Image) -> UInt8[np.ndarray, "s s 3"]:
        """The picture as RGB (transparency on white), resized and cropped as the family's processor does.

        >>> square = Preprocess(2, "stretch", False, 2, 3, HALF, HALF)
        >>> square.array(Image.new("LA", (5, 3), (0, 0))).tolist()[0]
        [[255, 255, 255], [255, 255, 255]]
        """
        image = rgb(image)
        if self.resize == "stretch":
            return np.array(image.resize((self.size, self.size), Image.Resampling(self.resample)))
        short, long = sorted(image.size)
        length = int(self.edge * long / short)
        wanted = (self.edge, length) if image.width <= image.height else (length, self.edge)
        image = image.resize(wanted, Image.Resampling(self.resample))
        left, top = (image.width - self.size) // 2, (image.height - self.size) // 2
        return np.array(image.crop((left, top, left + self.size, top + self.size)))

    def at(self, size: int) -> "Preprocess":
        """The same at another resolution: the share that the crop keeps stays.

        >>> Preprocess(224, "shortest", True, 256, 3, HALF, HALF).at(448).edge
        512
        """
        return Preprocess(
            size,
            self.resize,
            self.crop,
            math.ceil(self.edge * size / self.size),
            self.resample,
            self.mean,
            self.std,
        )


def rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB; what is transparent becomes white."""
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def read(folder: Path) -> Preprocess:
    """The preprocessing that a model's folder says.

    Raises:
        ModelError: no file says it, or it says something that this house does not do.
    """
    path, settings = _settings(folder)
    kind = str(settings.get("image_processor_type") or settings.get("feature_extractor_type"))
    family = next((name for name in STANDARD if kind.startswith(name)), None)
    if family is None:
        raise ModelError(
            f"{path}: image processor {kind!r} is not known; known: {', '.join(sorted(STANDARD))}"
        )
    settings = STANDARD[family] | {key: value for key, value in settings.items() if value is not None}
    if not settings.get("do_resize", True):
        raise ModelError(f"{path}: do_resize is false, expected true: every image must come to one size")
    if not settings.get("do_rescale", True) or not math.isclose(
        settings.get("rescale_factor", 1 / 255), 1 / 255
    ):
        raise ModelError(f"{path}: expected pixels rescaled by 1/255")
    resample = settings["resample"]
    mean, std = _channels(path, settings)
    size, crop = settings["size"], bool(settings.get("do_center_crop", False))
    if isinstance(size, int):
        size = {"shortest_edge": size} if crop else {"height": size, "width": size}
    edge = size["shortest_edge"] if size.keys() == {"shortest_edge"} else None
    if edge is None:
        side = _side(path, "size", size)
        if crop and _side(path, "crop_size", settings["crop_size"]) != side:
            raise ModelError(
                f"{path}: a crop out of a stretched image is not supported; set crop_size to {side}"
            )
        return Preprocess(side, "stretch", False, side, resample, mean, std)
    if not crop:
        raise ModelError(
            f"{path}: shortest_edge without do_center_crop gives images of many sizes; set one size"
        )
    side = _side(path, "crop_size", settings["crop_size"])
    if side > edge:
        raise ModelError(f"{path}: crop_size {side} is larger than shortest_edge {edge}")
    return Preprocess(side, "shortest", True, edge, resample, mean, std)


def _channels(path: Path, settings: dict[str, Any]) -> tuple[Channels, Channels]:
    if not settings.get("do_normalize", True):
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    mean, std = settings["image_mean"], settings["image_std"]
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ModelError(
            f"{path}: image_mean {mean} and image_std {std}: expected three numbers, std above 0"
        )
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def _settings(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The image processor's settings: its own file, or its part of a whole processor's."""
    for name, part in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        path = folder / name
        if path.is_file():
            settings = source.settings(path)
            settings = settings.get(part) if part else settings
            if settings:
                return path, settings
    raise ModelError(
        f"{folder}: no preprocessor_config.json, so how images are resized and normalised is unknown; "
        "copy it from the model that this one was tuned from"
    )


def _side(path: Path, key: str, size: int | dict[str, int]) -> int:
    height, width = (size, size) if isinstance(size, int) else (size.get("height"), size.get("width"))
    if height is None or height != width:
        raise ModelError(
            f"{path}: {key} is {size}, expected a square such as {{'height': 224, 'width': 224}}"
        )
    return height
