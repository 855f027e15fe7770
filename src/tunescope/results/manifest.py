"""What a published folder holds: the size and sha256 of every file, written last."""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
SCHEMA = 1
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
DIGEST = re.compile(r"[0-9a-f]{64}")


class Unsound(Exception):
    """A folder that is not what its manifest says, or that no manifest can describe."""

    def __init__(self, file: str | None, reason: str):
        self.file, self.reason = file, reason
        super().__init__(f"{file}: {reason}" if file else reason)


@dataclass(frozen=True)
class Manifest:
    """The full identity of a run and its files, by name: (size in bytes, sha256)."""

    run: str
    files: dict[str, tuple[int, str]]

    @classmethod
    def of(cls, run: str, folder: Path) -> "Manifest":
        """Describe a folder that has just been written, every file of it brought safely to disk.

        Raises:
            Unsound: the folder holds something else than plain files.
            OSError: a file cannot be read or synced.
        """
        return cls(run, {path.name: _describe(path, sync=True) for path in sorted(_plain(folder))})

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest of a published folder.

        Raises:
            Unsound: it is not there, cannot be read, or is not byte for byte what was written.
        """
        if not stat.S_ISDIR(_mode(folder)):
            raise Unsound(None, "is not a folder")
        path = folder / MANIFEST
        if not stat.S_ISREG(_mode(path)):
            raise Unsound(MANIFEST, "missing, or not a plain file")
        try:
            text = path.read_text(encoding="utf-8")
            value = json.loads(text)
        except OSError as error:
            raise Unsound(MANIFEST, f"cannot be read ({error.strerror})") from None
        except ValueError:
            raise Unsound(MANIFEST, "is not JSON") from None
        if isinstance(value, dict) and isinstance(value.get("schema"), int) and value["schema"] > SCHEMA:
            raise Unsound(MANIFEST, f"has schema {value['schema']}; this tunescope reads up to {SCHEMA}")
        found = cls._parse(value)
        if found is None or found.dump() != text:
            raise Unsound(MANIFEST, "is not what tunescope wrote")
        return found

    @classmethod
    def _parse(cls, value: Any) -> "Manifest | None":
        try:
            files = {name: (entry["size"], entry["sha256"]) for name, entry in value["files"].items()}
            found = cls(value["run"], files)
            sound = DIGEST.fullmatch(found.run) and all(
                FILE.fullmatch(name) and name != MANIFEST and type(size) is int and DIGEST.fullmatch(digest)
                for name, (size, digest) in files.items()
            )
        except (KeyError, TypeError, AttributeError):
            return None
        return found if sound else None

    def dump(self) -> str:
        """The manifest as it stands in its file."""
        # By hand: `json` indents in Python, and thousands of manifests are read to plan a study. Every
        # name and digest has been held against FILE and DIGEST, so that there is nothing to escape.
        files = ",\n".join(
            f'  "{name}": {{\n   "sha256": "{digest}",\n   "size": {size}\n  }}'
            for name, (size, digest) in sorted(self.files.items())
        )
        files = f"{{\n{files}\n }}" if files else "{}"
        return f'{{\n "files": {files},\n "run": "{self.run}",\n "schema": {SCHEMA}\n}}\n'

    def check(self, folder: Path, contents: bool) -> Iterator[Unsound]:
        """What in the folder is not as the manifest says.

        Args:
            folder: the published folder.
            contents: hash every file as well; without it, only names and sizes are looked at.
        """
        for name, (size, digest) in self.files.items():
            try:
                found = os.lstat(folder / name)
                if not stat.S_ISREG(found.st_mode):
                    yield Unsound(name, "is not a plain file")
                elif found.st_size != size:
                    yield Unsound(name, f"has {found.st_size} bytes; {size} were published")
                elif contents and _describe(folder / name)[1] != digest:
                    yield Unsound(name, "has other contents than were published (sha256)")
            except FileNotFoundError:
                yield Unsound(name, "missing")
            except OSError as error:
                yield Unsound(name, f"cannot be read ({error.strerror})")
        if contents:
            for name in sorted({*os.listdir(folder)} - {*self.files, MANIFEST}):
                yield Unsound(name, "was not published with the run")


def _plain(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if not stat.S_ISREG(_mode(path)):
            raise Unsound(path.name, "is not a plain file; links and folders cannot be published")
        if not FILE.fullmatch(path.name) or path.name == MANIFEST:
            raise Unsound(path.name, "is not a name that a published file can have")
        yield path


def _describe(path: Path, sync: bool = False) -> tuple[int, str]:
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(file, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if sync:
            os.fsync(stream.fileno())
        return stream.tell(), digest


def _mode(path: Path) -> int:
    """What stands at `path` itself, links not followed; 0 where nothing does."""
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0
