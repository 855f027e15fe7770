"""A process that outlives another by a moment, and ends what that one has left running.

It is told the numbers of processes, a line each, on its standard input, whose other end nobody else has:
where that closes, the one that wrote has gone.
"""

import os
import signal
import sys
from contextlib import suppress
from typing import TextIO


def watch(told: TextIO) -> None:
    """Read numbers until the other end has gone; then end those processes and all that they have started.

    Args:
        told: a number a line; a process that has begun since, under a number that was free again, is spared.
    """
    import psutil

    watched: list[psutil.Process] = []
    for line in told:
        with suppress(psutil.NoSuchProcess):  # it has ended already
            watched.append(psutil.Process(int(line)))
    for process in watched:
        with suppress(psutil.NoSuchProcess):
            process.suspend()  # it starts nothing more
            family = process.children(recursive=True)
            process.kill()
            for one in family:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
        if process.is_running() or not psutil.pid_exists(process.pid):  # else the number is another's by now
            with suppress(ProcessLookupError, PermissionError):  # what it left to others in its session
                os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    watch(sys.stdin)
