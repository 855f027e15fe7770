"""What goes wrong while a store is written, as one error that says what to do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from tunescope.errors import StoreError
from tunescope.results.manifest import Unsound


@contextmanager
def writing(root: Path, what: str) -> Iterator[None]:
    """Write to the store at `root` while the block runs.

    Args:
        root: the store's folder.
        what: what is being done, to follow "cannot".

    Raises:
        StoreError: the disk is full, may not be written, or what was written is no plain file.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number else str(error)
        raise StoreError(
            f"{root}: cannot {what}: {reason}; nothing was changed. Free some space or mend the "
            "folder's permissions, then run again: what is published stays"
        ) from error
    except Unsound as error:
        raise StoreError(f"{root}: cannot {what}: {error}; nothing was changed") from None
