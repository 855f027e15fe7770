"""The first Ctrl-C asks to stop, the second one stops; SIGTERM asks, however often it comes."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Whether somebody asked to stop. Calling it says so."""

    def __init__(self):
        self.asked = False

    def __call__(self) -> bool:
        return self.asked


@contextmanager
def graceful(ask: Callable[[], None] = lambda: None) -> Iterator[Stopping]:
    """While the block runs, the first Ctrl-C or SIGTERM sets the flag and asks; a second Ctrl-C raises.

    In a thread other than the main one Python delivers no signals, and nothing is changed.

    Raises:
        KeyboardInterrupt: at the second Ctrl-C.
    """
    stopping, interrupts = Stopping(), 0
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def handle(number: int, frame: object) -> None:
        nonlocal interrupts
        interrupts += number == signal.SIGINT
        if interrupts > 1:
            raise KeyboardInterrupt
        if not stopping.asked:
            stopping.asked = True
            ask()

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
