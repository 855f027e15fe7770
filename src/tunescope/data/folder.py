"""`folder:PATH`: a folder with one subfolder of images per class."""

from pathlib import Path

import numpy as np

from tunescope.data.decode import decode
from tunescope.data.digest import files_digest
from tunescope.data.imageset import ImageSet
from tunescope.data.prompts import GENERIC, readable
from tunescope.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})


def _root(ref: str) -> Path:
    root = Path(ref.partition(":")[2]).expanduser()
    if not ref.partition(":")[2] or not root.is_dir():
        raise DataError(
            f"data {ref!r}: there is no such folder; expected folder:PATH with one subfolder per class"
        )
    return root


def _files(root: Path) -> dict[str, list[Path]]:
    """The image files of each class, classes and files in the order of their names; hidden ones left out."""
    classes = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return {
        entry.name: sorted(
            path
            for path in entry.rglob("*")
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
        )
        for entry in classes
    }


def load(ref: str, label: str | None) -> ImageSet:
    """The images below `PATH/<class>/`, of any depth; files that are not images by suffix are ignored.

    An image's id is its path below `PATH`, so that parallel folders (`photo/cat/1.png`,
    `sketch/cat/1.png`) hold the same concepts. `label` has no meaning here: subfolders are the classes.

    Raises:
        DataError: no such folder, no subfolder, one class only, or a class without an image.
    """
    root = _root(ref)
    files = _files(root)
    if len(files) < 2:
        found = f"only the class {next(iter(files))!r}" if files else "no subfolder"
        raise DataError(
            f"data {ref!r}: {found}; at least two classes are needed, one subfolder of images each"
        )
    for name, paths in files.items():
        if not paths:
            raise DataError(
                f"data {ref!r}: class {name!r} is empty: no file in {root / name} ends in "
                f"{', '.join(sorted(SUFFIXES))}; add images or remove the folder"
            )
    paths = [path for group in files.values() for path in group]
    ids = tuple(path.relative_to(root).as_posix() for path in paths)
    return ImageSet(
        name=ref,
        ids=ids,
        labels=np.repeat(np.arange(len(files)), [len(group) for group in files.values()]).astype(np.int64),
        class_names=readable(files),
        templates=GENERIC,
        fingerprint=fingerprint(ref),
        read=lambda index: decode(paths[index], str(paths[index])),
    )


def fingerprint(ref: str) -> str:
    """sha256 over prompts and the images' paths below the folder, sizes and contents; not where it lies."""
    root = _root(ref)
    return files_digest(root, (path for paths in _files(root).values() for path in paths), repr(GENERIC))
