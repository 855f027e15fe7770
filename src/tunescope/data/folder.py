"""`folder:PATH`: a folder with one subfolder of images, or of texts, per class."""

from pathlib import Path

import numpy as np

from tunescope.data.dataset import DataSet, Item, Reads
from tunescope.data.decode import decode
from tunescope.data.digest import files_digest
from tunescope.data.prompts import GENERIC, readable
from tunescope.data.texts import TEMPLATES
from tunescope.errors import DataError

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})
TEXTS = frozenset({".txt"})


def _root(ref: str) -> Path:
    root = Path(ref.partition(":")[2]).expanduser()
    if not ref.partition(":")[2] or not root.is_dir():
        raise DataError(
            f"data {ref!r}: there is no such folder; expected folder:PATH with one subfolder per class"
        )
    return root


def _files(root: Path, suffixes: frozenset[str]) -> dict[str, list[Path]]:
    """The files of each class, classes and files in the order of their names; hidden ones left out."""
    classes = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return {
        entry.name: sorted(
            path
            for path in entry.rglob("*")
            if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
        )
        for entry in classes
    }


def _found(root: Path) -> tuple[Reads, dict[str, list[Path]]]:
    """The images of each class; where there is not one image and there are texts, the texts."""
    images = _files(root, IMAGES)
    texts = {} if any(images.values()) else _files(root, TEXTS)
    return ("text", texts) if any(texts.values()) else ("vision", images)


def load(ref: str, label: str | None) -> DataSet:
    """The images below `PATH/<class>/`, of any depth, or the texts (`.txt`, UTF-8) where there is no image.

    Files of other kinds are ignored. An item's id is its path below `PATH`, so that parallel folders
    (`photo/cat/1.png`, `sketch/cat/1.png`) hold the same concepts. `label` has no meaning here: subfolders
    are the classes.

    Raises:
        DataError: no such folder, no subfolder, or a class without an item.
    """
    root = _root(ref)
    reads, files = _found(root)
    what, suffixes = ("images", IMAGES) if reads == "vision" else ("texts", TEXTS)
    if not files:
        raise DataError(f"data {ref!r}: no subfolder; each class is one, of images or texts")
    for name, paths in files.items():
        if not paths:
            raise DataError(
                f"data {ref!r}: class {name!r} is empty: no file in {root / name} ends in "
                f"{', '.join(sorted(suffixes))}; add {what} or remove the folder"
            )
    paths = [path for group in files.values() for path in group]
    return DataSet(
        name=ref,
        ids=tuple(path.relative_to(root).as_posix() for path in paths),
        labels=np.repeat(np.arange(len(files)), [len(group) for group in files.values()]).astype(np.int64),
        class_names=readable(files),
        templates=_templates(reads),
        fingerprint=fingerprint(ref),
        read=lambda index: _read(reads, paths[index]),
        tower=reads,
    )


def _read(reads: Reads, path: Path) -> Item:
    if reads == "vision":
        return decode(path, str(path))
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"text {str(path)!r} cannot be read as UTF-8 ({error}); save it again") from None


def _templates(reads: Reads) -> tuple[str, ...]:
    return GENERIC if reads == "vision" else TEMPLATES


def tower(ref: str) -> Reads:
    """Images are for the vision tower, texts for the text tower."""
    return _found(_root(ref))[0]


def fingerprint(ref: str) -> str:
    """sha256 over prompts and the files' paths below the folder, sizes and contents; not where it lies."""
    root = _root(ref)
    reads, files = _found(root)
    return files_digest(root, (path for paths in files.values() for path in paths), repr(_templates(reads)))
