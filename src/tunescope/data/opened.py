"""A Hugging Face dataset, opened: its splits, columns and labels, and a digest of what it holds."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tunescope.data.digest import files_digest
from tunescope.data.labels import Labels, read_labels
from tunescope.data.place import Place
from tunescope.errors import DataError, nearest

if TYPE_CHECKING:
    from datasets import Dataset


def library() -> Any:
    """The package `datasets`.

    Raises:
        DataError: it is not installed.
    """
    try:
        import datasets
    except ModuleNotFoundError:
        raise DataError(
            "Hugging Face datasets need the package 'datasets': pip install 'tunescope[datasets]'"
        ) from None
    return datasets


@lru_cache(maxsize=8)
def _from_hub(where: str) -> Any:
    owner, *rest = where.split("/")
    if len(rest) == 2 and owner not in ("", ".", "..", "~"):  # OWNER/NAME/CONFIGURATION, and no path
        return library().load_dataset(f"{owner}/{rest[0]}", rest[1])
    return library().load_dataset(where)


def open_splits(place: Place) -> "dict[str, Dataset]":
    """Every split that was asked for, by name; images are not decoded by the library."""
    datasets = library()
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


def labels_of(ref: str, splits: "dict[str, Dataset]", column: str) -> Labels:
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
    return read_labels(table_of(splits, [column]).column(column), f"data {ref!r}: column {column!r}")


def table_of(splits: "dict[str, Dataset]", columns: Sequence[str]) -> pa.Table:
    """Some columns of all splits, in their order."""
    return pa.concat_tables(
        part.select_columns(list(columns)).with_format("arrow")[:] for part in splits.values()
    )


def content(place: Place) -> str:
    """What the whole dataset holds, whatever split or label is chosen of it, and wherever it lies."""
    path = place.path
    if path is None:
        # The library makes this hash from id, configuration, version and the commit that was resolved.
        revisions = sorted(part._fingerprint for part in open_splits(place._replace(split=None)).values())
        return hashlib.sha256("\n".join([place.where, *revisions]).encode()).hexdigest()
    if path.is_file():
        return files_digest(path.parent, [path])
    return files_digest(path, (file for suffix in ("arrow", "parquet") for file in path.rglob(f"*.{suffix}")))
