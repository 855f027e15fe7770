"""Examples as the model will see them: texts, or images decoded, resized and cropped, not yet normalised."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int64, Shaped, UInt8
from PIL import Image

from tunescope.data import decoded as files
from tunescope.data.dataset import DataSet, Reads
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
            texts, an array of `str` objects [n]; or pairs of texts [n, 2].
        labels: int64 [n], indices into `class_names`; or float64 [n], numbers to be predicted.
        ids: the concept of each example.
        class_names: every candidate, also those without an example here; none where labels are numbers.
        templates: prompts with one `{}` for a class name.
        split: `train`, `val`, `probe`, `test`, `shift:<data>` or `zero_shot:<data>`.
        skipped: images of the whole set that could not be decoded and were left out.
    """

    inputs: Shaped[np.ndarray, "n ..."]
    labels: Int64[np.ndarray, " n"] | Float64[np.ndarray, " n"]
    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    split: str
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tower(self) -> Reads:
        """The tower that reads such inputs."""
        return "vision" if self.inputs.dtype == np.uint8 else "text"

    @property
    def regression(self) -> bool:
        """Whether labels are numbers to be predicted, and not classes."""
        return self.labels.dtype == np.float64


def materialise(
    data: DataSet,
    indices: Sequence[int] | Int64[np.ndarray, " n"],
    preprocess: Preprocess | None,
    split: str,
    decoded: Path | None = None,
) -> Examples:
    """The items at `indices`, in that order: images decoded and resized, texts as they are.

    Args:
        data: of one source.
        indices: which of its items.
        preprocess: the model's; None where it reads no images.
        split: the name of what they are.
        decoded: a folder in which decoded images are kept and found again; without one they are in memory.

    Raises:
        DataError: an item cannot be read (it is named), or there is none; images for a model that reads none;
            the folder cannot be used.
    """
    chosen = data.select(indices)
    if not len(chosen):
        raise DataError(f"data {data.name!r}: nothing for the split {split!r}")
    inputs = _texts(chosen) if data.tower == "text" else _images(chosen, preprocess, decoded)
    return Examples(
        inputs=inputs,
        labels=chosen.labels,
        ids=chosen.ids,
        class_names=chosen.class_names,
        templates=chosen.templates,
        split=split,
        skipped=chosen.skipped,
    )


def _texts(chosen: DataSet) -> Shaped[np.ndarray, "n ..."]:
    return np.array([chosen.item(index) for index in range(len(chosen))], dtype=object)


def _images(
    chosen: DataSet, preprocess: Preprocess | None, decoded: Path | None
) -> UInt8[np.ndarray, "n s s 3"]:
    if preprocess is None:
        raise DataError(f"data {chosen.name!r} holds images, and the model reads texts alone")
    shape = (len(chosen), preprocess.size, preprocess.size, 3)
    arrays = (preprocess.array(chosen.image(index)) for index in range(len(chosen)))
    if decoded is not None:
        name = files.key(chosen.fingerprint, chosen.ids, preprocess.key)
        return files.mapped(decoded / f"{name}.npy", shape, arrays)
    found = np.empty(shape, dtype=np.uint8)
    for place, array in zip(found, arrays, strict=True):
        place[...] = array
    return found
