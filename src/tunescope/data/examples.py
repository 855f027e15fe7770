"""Examples as the model will see them: images decoded, resized, cropped, not yet normalised."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, Shaped, UInt8
from PIL import Image

from tunescope.data import decoded as files
from tunescope.data.imageset import ImageSet
from tunescope.errors import DataError


@runtime_checkable
class Preprocess(Protocol):
    """What is needed of a model's preprocessing here."""

    @property
    def size(self) -> int: ...

    @property
    def key(self) -> str: ...  # another one for every other way of making arrays

    def array(self, image: Image.Image) -> UInt8[np.ndarray, "s s 3"]: ...


@dataclass(frozen=True, eq=False)
class Examples:
    """One split of a run, ready to be fed: an encoder's `features` takes any part of its inputs.

    Args:
        inputs: images, uint8 [n, S, S, 3], RGB, read-only where they are a file's, mapped into memory; or
            texts, an array of `str` objects [n].
        labels: int64 [n], indices into `class_names`.
        ids: the concept of each example.
        class_names: every candidate, also those without an example here.
        templates: prompts with one `{}` for a class name.
        split: `train`, `val`, `probe`, `test`, `shift:<data>` or `zero_shot:<data>`.
        skipped: images of the whole set that could not be decoded and were left out.
    """

    inputs: Shaped[np.ndarray, "n ..."]
    labels: Int64[np.ndarray, " n"]
    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    split: str
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tower(self) -> Literal["vision", "text"]:
        """The tower that reads such inputs."""
        return "vision" if self.inputs.dtype == np.uint8 else "text"


def materialise(
    images: ImageSet,
    indices: Sequence[int] | Int64[np.ndarray, " n"],
    preprocess: Preprocess,
    split: str,
    decoded: Path | None = None,
) -> Examples:
    """Decode and resize the images at `indices`, in that order.

    Args:
        images: of one source.
        indices: which of them.
        preprocess: the model's.
        split: the name of what they are.
        decoded: a folder in which decoded images are kept and found again; without one they are in memory.

    Raises:
        DataError: an image cannot be decoded (it is named), or there is none; the folder cannot be used.
    """
    chosen = images.select(indices)
    if not len(chosen):
        raise DataError(f"data {images.name!r}: no image for the split {split!r}")
    shape = (len(chosen), preprocess.size, preprocess.size, 3)
    arrays = (preprocess.array(chosen.image(index)) for index in range(len(chosen)))
    if decoded is None:
        found = np.empty(shape, dtype=np.uint8)
        for place, array in zip(found, arrays, strict=True):
            place[...] = array
    else:
        name = files.key(chosen.fingerprint, chosen.ids, preprocess.key)
        found = files.mapped(decoded / f"{name}.npy", shape, arrays)
    return Examples(
        inputs=found,
        labels=chosen.labels,
        ids=chosen.ids,
        class_names=chosen.class_names,
        templates=chosen.templates,
        split=split,
        skipped=chosen.skipped,
    )
