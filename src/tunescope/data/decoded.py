"""Decoded images as files that are mapped into memory: made once, read by every run."""

import hashlib
import io
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from tunescope.data.dataset import DataSet
from tunescope.errors import DataError

FORMAT = 1  # of the files; another one makes them again


def key(fingerprint: str, ids: tuple[str, ...], preprocess: str) -> str:
    """The name of what is decoded: sha256 of what decides every byte of it.

    Args:
        fingerprint: of the set that the images are from.
        ids: which of its images, in order.
        preprocess: the key of how they are resized and cropped.

    >>> key("ab", ("1", "2"), "32") == key("ab", ("2", "1"), "32")
    False
    """
    said = json.dumps([FORMAT, fingerprint, ids, preprocess])
    return hashlib.sha256(said.encode()).hexdigest()


def mapped(
    path: Path, shape: tuple[int, int, int, int], arrays: Iterable[UInt8[np.ndarray, "s s 3"]]
) -> UInt8[np.ndarray, "n s s 3"]:
    """The images of a file, read-only and in memory no longer than they are looked at; made if need be.

    A file is taken as it is where its size and its header are those of such an array. Anything else is
    made again: aside, brought to disk and renamed, so that a file which is there is whole, and two
    processes that make the same one are in nobody's way.

    Args:
        path: of the `.npy` file.
        shape: images, height, width, channels.
        arrays: the images in order; not asked for where the file is there.

    Raises:
        DataError: the file cannot be read or written; nothing half-written is left.
    """
    header = _header(shape)
    with _told(path, f"{shape[0]} decoded images ({math.prod(shape) / 1e6:,.1f} MB)"):
        with suppress(FileNotFoundError), path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == len(header) + math.prod(shape) and file.read(len(header)) == header:
                return np.memmap(file, np.uint8, "r", len(header), shape)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        try:
            # Written and not mapped while it grows: a full disk refuses a write, but kills who fills a map.
            with part.open("x+b") as file:
                file.write(header)
                image = np.empty(shape[1:], np.uint8)
                for array in arrays:
                    image[...] = array
                    file.write(image.data)
                file.flush()
                os.fsync(file.fileno())
                found = np.memmap(file, np.uint8, "r", len(header), shape)
            # Somebody may have tidied it away; what is mapped stays, and the next one makes it again.
            with suppress(FileNotFoundError):
                os.replace(part, path)
            return found
        finally:
            part.unlink(missing_ok=True)


def broken(images: DataSet, folder: Path | None) -> list[int]:
    """Which images of a set cannot be decoded, from a file of the folder if they have been looked through.

    Raises:
        DataError: the file cannot be written.
    """
    if folder is None:
        return images.broken()
    path = folder / f"{key(images.fingerprint, images.ids, 'broken')}.json"
    with suppress(OSError, ValueError):
        known = json.loads(path.read_bytes())
        if isinstance(known, list) and all(index in range(len(images)) for index in known):
            return known
    found = images.broken()
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    with _told(path, f"which of {len(images)} images are broken"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(json.dumps(found), encoding="utf-8")
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    return found


def _header(shape: tuple[int, int, int, int]) -> bytes:
    stream = io.BytesIO()
    said = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, said)
    return stream.getvalue()


@contextmanager
def _told(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"folder {path.parent}: {what} cannot be kept there ({error.strerror or error}); free space, "
            "mend its permissions, or keep the results elsewhere"
        ) from None
