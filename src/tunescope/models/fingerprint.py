"""What a model is, as one string that moves when anything that matters to a result moves. Torch-free."""

import hashlib
from functools import lru_cache
from pathlib import Path

from tunescope.errors import ModelError
from tunescope.models import source


def fingerprint(name: str | Path) -> str:
    """The identity of a model's weights and settings.

    sha256 over the lines `sha256(file)  file name`, sorted by name, of config, safetensors, tokenizer and
    preprocessor files; for a hub id, the commit. Where the files lie and when they were written is not in it.

    Args:
        name: as for `load`.

    Raises:
        ModelError: no such model; or a hub id that is neither cached nor reachable.
    """
    folder = source.local(name)
    if folder is None:
        return source.commit(str(name))
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no config.json; is this a model's folder?")
    files = sorted(
        {path for pattern in source.FILES for path in folder.glob(pattern)}, key=lambda path: path.name
    )
    lines = "".join(f"{_digest(path)}  {path.name}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _digest(path: Path) -> str:
    status = path.stat()
    return _digest_of(path.resolve(), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def _digest_of(path: Path, size: int, mtime_ns: int) -> str:
    """Size and time are only there to forget a file that was written anew."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
