"""`hf:ID_OR_PATH[#SPLIT][:LABEL]` and the named sets: Hugging Face `datasets`, from hub or folder."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tunescope.data.decode import decode
from tunescope.data.digest import files_digest
from tunescope.data.imageset import ImageSet
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


class Place(NamedTuple):
    """A parsed reference: a hub id or a local path, and what was chosen of it."""

    where: str
    split: str | None
    label: str | None

    @property
    def path(self) -> Path | None:
        """The local folder or file, where it is one."""
        path = Path(self.where).expanduser()
        return path if path.exists() else None


def parse(ref: str) -> Place:
    """The parts of an `hf:` reference.

    >>> parse("hf:uoft-cs/cifar100#train:coarse_label")
    Place(where='uoft-cs/cifar100', split='train', label='coarse_label')
    """
    rest = ref.partition(":")[2]
    label = split = None
    if not Path(rest).expanduser().exists():  # a path may hold the marks itself
        rest, _, label = rest.partition(":")
        rest, _, split = rest.partition("#")
    if not rest:
        raise DataError(f"data {ref!r}: expected hf:ID_OR_PATH[#SPLIT][:LABEL]")
    return Place(rest, split or None, label or None)


def _library() -> Any:
    try:
        import datasets
    except ModuleNotFoundError:
        raise DataError(
            "Hugging Face datasets need the package 'datasets': pip install 'tunescope[datasets]'"
        ) from None
    return datasets


@lru_cache(maxsize=8)
def _from_hub(name: str) -> Any:
    return _library().load_dataset(name)


def _open(place: Place) -> "dict[str, Dataset]":
    """Every split that was asked for, by name; images are not decoded by the library."""
    datasets = _library()
    path = place.path
    try:
        if path is None:
            found = _from_hub(place.where)
        elif (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            found = datasets.load_from_disk(str(path))
        else:
            files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
            if not files or any(file.suffix != ".parquet" for file in files):
                raise DataError(
                    f"data 'hf:{place.where}': neither saved by save_to_disk nor Parquet; for a folder of "
                    f"images say folder:{place.where}"
                )
            found = datasets.load_dataset("parquet", data_files=[str(file) for file in files], split="train")
    except (OSError, ValueError) as error:  # the library's own errors are among them
        local = (
            "is it a data set?" if path else "give an id that is on the hub and reachable, or a local folder"
        )
        raise DataError(f"data 'hf:{place.where}' cannot be loaded; {local} ({error})") from None
    splits = dict(found) if isinstance(found, datasets.DatasetDict) else {"train": found}
    if place.split is not None:
        if place.split not in splits:
            raise DataError(
                f"data 'hf:{place.where}': no split {place.split!r}; {nearest(place.split, splits)}"
            )
        splits = {place.split: splits[place.split]}
    return dict(sorted(splits.items()))


def _columns(ref: str, features: Any, wanted: str | None, default: str | None) -> tuple[str, str]:
    """The image column and the label column: the only ones of their kind, unless the label is named."""
    datasets = _library()
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    if len(images) != 1:
        raise DataError(f"data {ref!r}: expected one image column, found {images or list(features)}")
    if wanted is not None and wanted not in features:
        raise DataError(f"data {ref!r}: no column {wanted!r}; {nearest(wanted, features)}")
    labels = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    chosen = wanted or (default if default in labels else None)
    if chosen is None:
        if len(labels) != 1:
            raise DataError(
                f"data {ref!r}: expected one label column, found {labels or 'none'}; name it: {ref}:COLUMN "
                f"(columns: {', '.join(features)})"
            )
        chosen = labels[0]
    return images[0], chosen


def _labels(ref: str, splits: "dict[str, Dataset]", column: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels over all splits, and the classes' names as the data spells them."""
    feature = next(iter(splits.values())).features[column]
    if hasattr(feature, "names"):
        values = {name: np.asarray(part[column][:], dtype=np.int64) for name, part in splits.items()}
        for name, labels in values.items():
            if len(labels) and labels.min() < 0:
                raise DataError(
                    f"data {ref!r}: split {name!r} has unlabelled rows; choose a split: hf:ID#SPLIT"
                )
        return np.concatenate(list(values.values())), tuple(feature.names)
    if getattr(feature, "dtype", None) not in ("string", "large_string"):
        raise DataError(f"data {ref!r}: column {column!r} is {feature}; expected class labels or strings")
    names, labels = np.unique(
        [str(v) for part in splits.values() for v in part[column][:]], return_inverse=True
    )
    return labels.astype(np.int64), tuple(str(name) for name in names)


def load(ref: str, label: str | None) -> ImageSet:
    """All rows of a Hugging Face dataset, of one split where it is named; tunescope makes its own splits.

    The image column is found by its type, and so is the label column where there is one of its kind; else it
    is named in the reference. Ids are `<source>/<split>/<row>`: a row of one dataset is the same concept,
    whatever the label.

    Raises:
        DataError: `datasets` is not installed; unknown id, split or column; unlabelled rows.
    """
    named = NAMED.get(ref)
    place = parse(named.ref if named else ref)
    splits = _open(place)
    image_column, label_column = _columns(ref, next(iter(splits.values())).features, place.label, label)
    labels, spelt = _labels(ref, splits, label_column)
    undecoded = _library().Image(decode=False)
    parts = {name: part.cast_column(image_column, undecoded) for name, part in splits.items()}
    rows = [(name, row) for name, part in parts.items() for row in range(len(part))]
    source = place.where if place.path is None else _content(place)[:12]

    def read(index: int):
        name, row = rows[index]
        value = parts[name][row][image_column] or {}
        where = f"{ref}: {name}, row {row}"
        if value.get("bytes") is not None:
            return decode(value["bytes"], where)
        if value.get("path") is not None:
            return decode(Path(value["path"]), where)
        raise DataError(f"image {where!r} is missing; remove the row, or set on_error: skip")

    return ImageSet(
        name=ref,
        ids=tuple(f"{source}/{name}/{row}" for name, row in rows),
        labels=labels,
        class_names=_prompt_names(ref, spelt, named),
        templates=named.templates if named else GENERIC,
        fingerprint=fingerprint(ref),
        read=read,
        label=label_column,
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
    place = parse(named.ref if named else ref)
    prompts = repr(named[1:] if named else GENERIC)
    chosen = [_content(place), place.split or "", place.label or "", prompts]
    return hashlib.sha256("\n".join(chosen).encode()).hexdigest()


def _content(place: Place) -> str:
    """What the whole dataset holds, whatever split or label is chosen of it, and wherever it lies."""
    path = place.path
    if path is None:
        # The library makes this hash from id, configuration, version and the commit that was resolved.
        revisions = sorted(part._fingerprint for part in _open(place._replace(split=None)).values())
        return hashlib.sha256("\n".join([place.where, *revisions]).encode()).hexdigest()
    if path.is_file():
        return files_digest(path.parent, [path])
    return files_digest(path, (file for suffix in ("arrow", "parquet") for file in path.rglob(f"*.{suffix}")))
