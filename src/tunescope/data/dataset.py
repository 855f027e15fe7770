"""Labelled images or texts by index, read when they are asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64
from PIL import Image

from tunescope.errors import DataError

Item = Image.Image | str | tuple[str, str]
Reads = Literal["vision", "text"]  # the tower that reads an item


@dataclass(frozen=True, eq=False)
class DataSet:
    """Labelled images, texts or pairs of texts of one source; nothing is decoded before `item` asks for it.

    Args:
        name: the reference it was loaded from.
        ids: one per item, unique; the same id is the same concept in every set.
        labels: int64, an index into `class_names` per item; or float64, a number to be predicted.
        class_names: readable, in a fixed order; none where the labels are numbers.
        templates: prompts with one `{}` for a class name.
        fingerprint: of the content, 64 hexadecimal digits.
        read: index → decoded image, text or pair of texts; raises a DataError that names the item.
        tower: which tower reads the items: images are for `vision`, texts and pairs for `text`.
        label: which of the source's labels this is (`subgroup`, a column); None where there is one only.
        groups: items of one class and one group are near-duplicates and are never split apart; default: ids.
        small_classes: whether classes too small for a split are an error or are left out.
        skipped: images that could not be decoded and were left out.
    """

    name: str
    ids: tuple[str, ...]
    labels: Int64[np.ndarray, " n"] | Float64[np.ndarray, " n"]
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    fingerprint: str
    read: Callable[[int], Item]
    tower: Reads = "vision"
    label: str | None = None
    groups: tuple[str, ...] = ()
    small_classes: Literal["raise", "drop"] = "raise"
    skipped: tuple[str, ...] = ()

    def __post_init__(self):
        if not self.groups:
            object.__setattr__(self, "groups", self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def item(self, index: int) -> Item:
        """The decoded image, the text, or the pair of texts at `index`.

        Raises:
            DataError: it cannot be read; names it.
        """
        return self.read(index)

    def image(self, index: int) -> Image.Image:
        """The decoded image at `index`, of a set that holds images."""
        item = self.read(index)
        assert isinstance(item, Image.Image)
        return item

    def select(self, indices: Sequence[int] | Int64[np.ndarray, " m"]) -> "DataSet":
        """The items at `indices`, in that order, with the same classes."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            ids=tuple(self.ids[i] for i in chosen),
            groups=tuple(self.groups[i] for i in chosen),
            labels=self.labels[chosen],
            read=lambda index: self.read(int(chosen[index])),
        )

    def restrict(self, class_names: Sequence[str]) -> "DataSet":
        """The items whose class is among `class_names`, labelled by their place in that list.

        Of labels that are numbers, and no class names, everything is kept.
        """
        if not self.class_names:
            return self
        place = {name: i for i, name in enumerate(class_names)}
        mapped = np.array([place.get(name, -1) for name in self.class_names], dtype=np.int64)[self.labels]
        kept = self.select(np.flatnonzero(mapped >= 0))
        return replace(kept, labels=mapped[mapped >= 0], class_names=tuple(class_names))

    def broken(self) -> list[int]:
        """Which items cannot be read. Decodes every one of them."""
        found = []
        for index in range(len(self)):
            try:
                self.read(index)
            except DataError:
                found.append(index)
        return found

    def without(self, indices: Sequence[int]) -> "DataSet":
        """All items but those at `indices`, which are named in `skipped`."""
        left_out = set(indices)
        kept = self.select([index for index in range(len(self)) if index not in left_out])
        return replace(kept, skipped=(*self.skipped, *(self.ids[index] for index in sorted(left_out))))
