"""One tree of exceptions. A `TunescopeError` is the user's to mend: the CLI prints it and exits with 2."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class TunescopeError(Exception):
    """What went wrong, where, the value, what was expected and the fix, in one message."""


class StudyError(TunescopeError):
    """A study file or a setting that cannot be carried out."""


class ModelError(TunescopeError):
    """A model that cannot be found, read or mapped."""


class DataError(TunescopeError):
    """Data that cannot be found, read, labelled or split."""


class MethodError(TunescopeError):
    """A way of tuning that does not fit the model it was asked for."""


class StoreError(TunescopeError):
    """A results store that cannot be read or written."""


class TableError(TunescopeError):
    """A question that the table cannot answer."""


class Diverged(TunescopeError):
    """The loss of a run stopped being finite.

    Args:
        step: the optimiser step, counted from 1, whose loss was not finite.

    Attributes:
        history: what the training loop had recorded until then.
    """

    def __init__(self, step: int):
        self.step = step
        self.history: Any = None
        super().__init__(f"diverged at step {step}")


class Stopped(Exception):
    """Somebody asked the engine to stop; what was under way has been checkpointed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A did-you-mean clause for an unknown name, followed by the known ones.

    >>> nearest("rnak", ["rank", "alpha"])
    "did you mean 'rank'? Known: alpha, rank"
    >>> nearest("fedex", ["fedprox", "fedex_lora"])
    "did you mean 'fedex_lora'? Known: fedex_lora, fedprox"
    >>> nearest("zebra", ["rank", "alpha"])
    'known: alpha, rank'
    """
    known = sorted(known)
    begun = [other for other in known if name and other.startswith(name)]
    close = begun or get_close_matches(name, known, n=1)
    listing = ", ".join(known) or "none"
    return f"did you mean {close[0]!r}? Known: {listing}" if close else f"known: {listing}"
