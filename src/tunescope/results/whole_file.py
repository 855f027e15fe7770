"""A file's bytes as Arrow can let go of them."""

from pathlib import Path

import pyarrow as pa


def read_whole(path: Path) -> pa.Buffer:
    """All bytes of a file, at once, in Arrow's own memory.

    Parquet is read by Arrow's threads, and one of them may be the last to hold the bytes. If these were a
    Python object it would need the interpreter for it, and end the process by an abort where that is ending.

    Raises:
        OSError: it cannot be read.
    """
    with pa.OSFile(str(path)) as file:
        return file.read_buffer()
