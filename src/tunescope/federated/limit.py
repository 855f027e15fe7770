"""A time limit on what a client does, held in its own process."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from tunescope.errors import StudyError


class Late(BaseException):
    """A client's time is up; not an Exception, so that what a client catches for itself lets it through."""


@contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Raise `Late` when the time is up.

    Raises:
        StudyError: as `check_limit`.

    >>> import time
    >>> try:
    ...     with limited(0.01):
    ...         time.sleep(5)
    ... except Late:
    ...     print("late")
    late
    """
    check_limit(seconds)
    if seconds is None:
        yield
        return

    def late(number: int, frame: FrameType | None) -> NoReturn:
        raise Late

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check_limit(seconds: float | None) -> None:
    """Whether a limit can be held here.

    Raises:
        StudyError: there is one, and this is not the main thread.
    """
    if seconds is not None and threading.current_thread() is not threading.main_thread():
        raise StudyError(
            f"client_timeout: {seconds:g} s cannot be held in a thread: only the main one is interrupted; "
            "leave it out, call from the main thread, or take a federation whose clients are processes (ray)"
        )
