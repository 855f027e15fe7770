"""Labelled images by index, decoded when they are asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Int64
from PIL import Image

from tunescope.errors import DataError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images of one source; nothing is decoded before `image` asks for it.

    Args:
        name: the reference it was loaded from.
        ids: one per image, unique; the same id is the same concept in every set.
        labels: int64, an index into `class_names` per image.
        class_names: readable, in a fixed order.
        templates: prompts with one `{}` for a class name.
        fingerprint: of the content, 64 hexadecimal digits.
        read: index → decoded image; raises a DataError that names the image.
        label: which of the source's labels this is (`subgroup`, a column); None where there is one only.
        groups: images of one class and one group are near-duplicates and are never split apart; default: ids.
        small_classes: whether classes too small for a split are an error or are left out.
        skipped: images that could not be decoded and were left out.
    """

    name: str
    ids: tuple[str, ...]
    labels: Int64[np.ndarray, " n"]
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    fingerprint: str
    read: Callable[[int], Image.Image]
    label: str | None = None
    groups: tuple[str, ...] = ()
    small_classes: Literal["raise", "drop"] = "raise"
    skipped: tuple[str, ...] = ()

    def __post_init__(self):
        if not self.groups:
            object.__setattr__(self, "groups", self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> Image.Image:
        """The decoded image at `index`.

        Raises:
            DataError: it cannot be decoded; names it.
        """
        return self.read(index)

    def select(self, indices: Sequence[int] | Int64[np.ndarray, " m"]) -> "ImageSet":
        """The images at `indices`, in that order, with the same classes."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            ids=tuple(self.ids[i] for i in chosen),
            groups=tuple(self.groups[i] for i in chosen),
            labels=self.labels[chosen],
            read=lambda index: self.read(int(chosen[index])),
        )

    def restrict(self, class_names: Sequence[str]) -> "ImageSet":
        """The images whose class is among `class_names`, labelled by their place in that list."""
        place = {name: i for i, name in enumerate(class_names)}
        mapped = np.array([place.get(name, -1) for name in self.class_names], dtype=np.int64)[self.labels]
        kept = self.select(np.flatnonzero(mapped >= 0))
        return replace(kept, labels=mapped[mapped >= 0], class_names=tuple(class_names))

    def broken(self) -> list[int]:
        """Which images cannot be decoded. Decodes every one of them."""
        found = []
        for index in range(len(self)):
            try:
                self.read(index)
            except DataError:
                found.append(index)
        return found

    def without(self, indices: Sequence[int]) -> "ImageSet":
        """All images but those at `indices`, which are named in `skipped`."""
        left_out = set(indices)
        kept = self.select([index for index in range(len(self)) if index not in left_out])
        return replace(kept, skipped=(*self.skipped, *(self.ids[index] for index in sorted(left_out))))
