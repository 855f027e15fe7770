"""The serial executor: one run after the other, in this process."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tunescope.engine.events import Event, Tell
from tunescope.engine.job import Job, attempt
from tunescope.engine.plan import Planned
from tunescope.results.store import Store
from tunescope.study.engine import Engine

if TYPE_CHECKING:
    from tunescope.engine.runtime import Runtime


class InProcess:
    """A pool of one: this process, on `engine.cpus` threads where the study says so.

    A run that takes too long cannot be ended from within it.

    Args:
        store: where runs are published.
        engine: what the study says about carrying out.
        tell: called while a run is carried out.
        runtime: where the clients of federated runs work; as the study says, if left out.
    """

    workers = 1

    def __init__(self, store: Store, engine: Engine, tell: Tell, runtime: "Runtime | None" = None):
        self._store, self._engine, self._tell, self._runtime = store, engine, tell, runtime
        self._run: Planned | None = None
        self._stopping = False

    def start(self, run: Planned) -> None:
        """The next `wait` carries it out."""
        self._run = run

    def wait(self, seconds: float) -> Iterable[Event]:
        """Carry out the run."""
        if self._run is None:
            return []
        job, self._run = Job(self._run, self._store.root, self._engine, self._engine.cpus), None
        with _computing_on(job.threads):
            return [attempt(job, self._tell, lambda: self._stopping, self._runtime)]

    def stop(self, run: Planned) -> None:
        """The loop sees it after its step."""
        self._stopping = True

    def kill(self, run: Planned) -> None:
        """Nothing: who works here cannot be ended from here."""

    def close(self) -> None:
        """Nothing is left to give back."""


@contextmanager
def _computing_on(threads: int | None) -> Iterator[None]:
    """Torch computes on so many, and afterwards on as many as before; None leaves them as they are."""
    if threads is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
