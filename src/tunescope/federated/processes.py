"""A process of Flower's that is stopped with all that it started, even where whoever started it is killed."""

import atexit
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from tunescope.errors import StudyError
from tunescope.federated import watcher

GRACE = 10.0  # seconds to end by itself
TAIL = 5  # lines of a log that are told


def scripts() -> Path:
    """Where this environment's commands are."""
    return Path(sysconfig.get_path("scripts"))


class Process:
    """A command that runs in the background.

    Args:
        name: what it is called in messages.
        command: with its arguments.
        environment: all of it.
        log: where its output goes.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path):
        self.name, self.log = name, log
        self._family: list[Any] = []
        with open(log, "wb") as stream:
            self._popen = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for whoever started it, who stops it in order
            )
        _watch(self._popen.pid)

    def check(self) -> None:
        """Whether it still runs.

        Raises:
            StudyError: it has ended.
        """
        if (code := self._popen.poll()) is not None:
            raise StudyError(f"{self.name} has ended with code {code}; {self.last_words()}")

    def wait(self, seconds: float) -> int | None:
        """Its exit code, if it ends within so many seconds."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def last_words(self) -> str:
        """The end of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line for line in lines if line.strip()][-TAIL:]
        return f"it said: {' | '.join(said)}" if said else "it said nothing"

    def end(self) -> None:
        """Ask it to end, and end what it started, for which it would wait; `stop` waits for all of them."""
        import psutil

        if self._popen.poll() is not None:  # its number may be another's by now
            return
        with suppress(psutil.NoSuchProcess):
            self._family += psutil.Process(self._popen.pid).children(recursive=True)
        self._popen.terminate()
        for process in self._family:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self) -> None:
        """End it and everything that it started, those in sessions of their own included."""
        import psutil

        self.end()
        if self.wait(GRACE) is None:
            self._popen.kill()
            self._popen.wait()
        with suppress(ProcessLookupError):  # it had ended by itself, and left somebody
            os.killpg(self._popen.pid, signal.SIGKILL)
        psutil.wait_procs(self._family, GRACE)


def _watch(number: int) -> None:
    """Have a process ended when this one has gone, however that was."""
    stream = _watcher().stdin
    assert stream is not None
    with suppress(BrokenPipeError):  # somebody has ended the watcher
        stream.write(f"{number}\n")
        stream.flush()


@cache
def _watcher() -> subprocess.Popen[str]:
    """The one of this process. Its end of the pipe closes with it, SIGKILL or not."""
    started = subprocess.Popen(
        [sys.executable, watcher.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    atexit.register(started.communicate)
    return started
