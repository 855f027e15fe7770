"""What a reference such as `hf:cifar10#train:label` is made of."""

from pathlib import Path
from typing import NamedTuple

from tunescope.errors import DataError


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


def parse(ref: str, what: str) -> Place:
    """The parts of a reference `KIND:WHERE[#SPLIT][:LABEL]`.

    Args:
        ref: the reference.
        what: a word for `WHERE`, for the message.

    Raises:
        DataError: it names no place.

    >>> parse("hf:uoft-cs/cifar100#train:coarse_label", "ID_OR_PATH")
    Place(where='uoft-cs/cifar100', split='train', label='coarse_label')
    """
    kind, _, rest = ref.partition(":")
    label = split = None
    if not Path(rest).expanduser().exists():  # a path may hold the marks itself
        rest, _, label = rest.partition(":")
        rest, _, split = rest.partition("#")
    if not rest:
        raise DataError(f"data {ref!r}: expected {kind}:{what}[#SPLIT][:LABEL]")
    return Place(rest, split or None, label or None)
