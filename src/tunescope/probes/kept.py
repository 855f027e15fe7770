"""What long measurements remember, so that nothing is computed twice: by two probes, or after a kill."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

Make = Callable[[], "dict[str, np.ndarray]"]


@runtime_checkable
class Kept(Protocol):
    """Arrays of one model by key: made at the first asking, handed out again at every later one.

    The engine gives one on disk, by which a run that is killed while it is measured goes on where it was.
    """

    def __call__(self, key: str, make: Make) -> "dict[str, np.ndarray]":
        """The arrays of a key.

        Args:
            key: says what they are, down to every setting that they depend on: `heads/val/…/layer03`. Which
                model it is need not be in it.
            make: computes them. The same key asks for the same arrays, whoever asks.
        """
        ...


class InMemory:
    """Remembers as long as it lives.

    >>> kept, asked = InMemory(), []
    >>> [kept("one", lambda: asked.append("one") or {}) for _ in range(2)], asked
    ([{}, {}], ['one'])
    """

    def __init__(self):
        self._found: dict[str, dict[str, np.ndarray]] = {}

    def __call__(self, key: str, make: Make) -> "dict[str, np.ndarray]":
        """The arrays of a key, as `Kept` has it."""
        if key not in self._found:
            self._found[key] = make()
        return self._found[key]

    def forget(self, key: str) -> None:
        """Have the arrays of a key made anew at the next asking."""
        self._found.pop(key, None)


# Called with what is measured, how much of it is done, and how much there is of it.
Progress = Callable[[str, int, int], None]


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""
