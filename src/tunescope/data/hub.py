"""`hf:ID_OR_PATH[#SPLIT][:LABEL]` and the named sets: Hugging Face `datasets`, from hub or folder.

An id may have a configuration behind it: `hf:nyu-mll/glue/sst2`.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tunescope.data.dataset import DataSet, Reads
from tunescope.data.decode import decode
from tunescope.data.labels import Labels
from tunescope.data.opened import content, labels_of, library, open_splits, table_of
from tunescope.data.place import Place, parse
from tunescope.data.prompts import (
    CIFAR,
    CIFAR10_NAMES,
    CIFAR100_NAMES,
    EUROSAT,
    EUROSAT_NAMES,
    GENERIC,
    PETS,
    PETS_NAMES,
    bare,
    readable,
)
from tunescope.data.texts import items_of, text_columns, text_set
from tunescope.errors import DataError, nearest

if TYPE_CHECKING:
    from datasets import Dataset


class Named(NamedTuple):
    """A hub set with the class names and templates that people compare with."""

    ref: str
    names: dict[str, str]  # `bare` name in the data → name in prompts
    templates: tuple[str, ...]


def _spelt(names: Sequence[str]) -> dict[str, str]:
    return {bare(name): name for name in names}


NAMED = {
    "eurosat": Named("hf:timm/eurosat-rgb:label", EUROSAT_NAMES, EUROSAT),
    "oxford_pets": Named("hf:timm/oxford-iiit-pet:label", _spelt(PETS_NAMES), PETS),
    "cifar10": Named("hf:uoft-cs/cifar10:label", _spelt(CIFAR10_NAMES), CIFAR),
    "cifar100": Named("hf:uoft-cs/cifar100:fine_label", _spelt(CIFAR100_NAMES), CIFAR),
}


def tower(ref: str) -> Reads:
    """Which tower reads the set, from its columns' types; nothing is decoded."""
    place = _place(ref)
    return "vision" if _image_columns(_features(open_splits(place))) else "text"


def _place(ref: str) -> Place:
    named = NAMED.get(ref)
    return parse(named.ref if named else ref, "ID_OR_PATH")


def _features(splits: "dict[str, Dataset]") -> Any:
    return next(iter(splits.values())).features


def _image_columns(features: Any) -> list[str]:
    datasets = library()
    return [name for name, feature in features.items() if isinstance(feature, datasets.Image)]


def _label_column(ref: str, features: Any, wanted: str | None, default: str | None) -> str:
    """The label column: the one that the reference names, the study's, or the only one of its kind."""
    datasets = library()
    if wanted is not None and wanted not in features:
        raise DataError(f"data {ref!r}: no column {wanted!r}; {nearest(wanted, features)}")
    labels = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if not labels and "label" in features:
        labels = ["label"]
    chosen = wanted or (default if default in labels else None)
    if chosen is None:
        if len(labels) != 1:
            raise DataError(
                f"data {ref!r}: expected one label column, found {labels or 'none'}; name it: {ref}:COLUMN "
                f"(columns: {', '.join(features)})"
            )
        chosen = labels[0]
    return chosen


def load(ref: str, label: str | None) -> DataSet:
    """All rows of a Hugging Face dataset, of one split where it is named; tunescope makes its own splits.

    The image column is found by its type; where there is none, the texts are found by their columns' names
    (see `text_columns`). So is the label column where there is one of its kind, or one called `label`; else
    it is named in the reference. An image's id is `<source>/<split>/<row>`: a row of one dataset is the same
    concept, whatever the label.

    Raises:
        DataError: `datasets` is not installed; unknown id, split or column; unlabelled rows.
    """
    place = _place(ref)
    splits = open_splits(place)
    features = _features(splits)
    images = _image_columns(features)
    column = _label_column(ref, features, place.label, label)
    labels, spelt = labels_of(ref, splits, column)
    named = NAMED.get(ref)
    names = _prompt_names(ref, spelt, named)
    if images:
        return _images(ref, place, splits, images, (labels, names), column, named)
    strings = [name for name in _strings(features) if name != column]
    if not strings:
        raise DataError(f"data {ref!r}: expected one image column, or texts, found {list(features)}")
    columns = text_columns(strings, f"data {ref!r}")
    items = [
        item
        for split, part in splits.items()
        for item in items_of(table_of({split: part}, columns), columns, f"data {ref!r}: split {split!r}")
    ]
    return text_set(ref, items, (labels, names), fingerprint=fingerprint(ref), label=column)


def _strings(features: Any) -> list[str]:
    kinds = ("string", "large_string")
    return [name for name, feature in features.items() if getattr(feature, "dtype", None) in kinds]


def _images(
    ref: str,
    place: Place,
    splits: "dict[str, Dataset]",
    columns: list[str],
    labels: Labels,
    label: str,
    named: Named | None,
) -> DataSet:
    if len(columns) > 1:
        raise DataError(f"data {ref!r}: expected one image column, found {columns}")
    (column,) = columns
    undecoded = library().Image(decode=False)
    parts = {name: part.cast_column(column, undecoded) for name, part in splits.items()}
    rows = [(name, row) for name, part in parts.items() for row in range(len(part))]
    source = place.where if place.path is None else content(place)[:12]

    def read(index: int):
        name, row = rows[index]
        value = parts[name][row][column] or {}
        where = f"{ref}: {name}, row {row}"
        if value.get("bytes") is not None:
            return decode(value["bytes"], where)
        if value.get("path") is not None:
            return decode(Path(value["path"]), where)
        raise DataError(f"image {where!r} is missing; remove the row, or set on_error: skip")

    return DataSet(
        name=ref,
        ids=tuple(f"{source}/{name}/{row}" for name, row in rows),
        labels=labels[0],
        class_names=labels[1],
        templates=named.templates if named else GENERIC,
        fingerprint=fingerprint(ref),
        read=read,
        label=label,
    )


def _prompt_names(ref: str, spelt: tuple[str, ...], named: Named | None) -> tuple[str, ...]:
    if named is None:
        return readable(spelt)
    unknown = [name for name in spelt if bare(name) not in named.names]
    if unknown:
        raise DataError(
            f"data {ref!r}: the data has a class {unknown[0]!r}; {nearest(unknown[0], named.names)}"
        )
    return tuple(named.names[bare(name)] for name in spelt)


def fingerprint(ref: str) -> str:
    """sha256 of prompts and of what the set holds: a local one's contents, a hub id's resolved revision."""
    named = NAMED.get(ref)
    place = _place(ref)
    prompts = repr(named[1:] if named else GENERIC)
    chosen = [content(place), place.split or "", place.label or "", prompts]
    return hashlib.sha256("\n".join(chosen).encode()).hexdigest()
