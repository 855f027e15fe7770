"""File names made of names from data: short, harmless on every system, no two alike."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable

LONGEST = 80  # bytes; two of them and a few words stay below the 255 that file systems take
PLAIN = frozenset(" ._=-,+()")
MARKED = re.compile(r".*-[0-9a-f]{8}")
DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}


def file_names(names: Iterable[str], reserved: Collection[str] = ()) -> dict[str, str]:
    """A file name for every name; a name that had to be changed ends with a digest of what it was.

    Letters and digits of any script stay, and ` ._=-,+()`; everything else becomes `_`. Names that differ
    in case alone, or are reserved, get the digest too.

    Args:
        names: from data.
        reserved: file names that are taken.

    >>> file_names(["lora lr=0.001 seed=0", "../etc"])
    {'lora lr=0.001 seed=0': 'lora lr=0.001 seed=0', '../etc': '_etc-f7f9121f'}
    """
    each = {name: _cleaned(name) for name in names}
    taken = Counter(file.casefold() for file in each.values())
    taken.update(name.casefold() for name in reserved)
    return {
        name: file if _own(file, name) and taken[file.casefold()] == 1 else _marked(file, name)
        for name, file in each.items()
    }


def _own(file: str, name: str) -> bool:
    """Whether a name serves as it is; one that looks like a marked one could be another's."""
    return file == name and not MARKED.fullmatch(name)


def _cleaned(name: str) -> str:
    text = unicodedata.normalize("NFC", name)
    text = "".join(c if c.isalnum() or c in PLAIN else "_" for c in text)
    text = _cut(text, LONGEST).lstrip(" .-").rstrip(" .")
    return "_" if not text or text.split(".")[0].casefold() in DEVICES else text


def _marked(file: str, name: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_cut(file, LONGEST - 9)}-{digest}"


def _cut(text: str, most: int) -> str:
    return text.encode()[:most].decode(errors="ignore")
