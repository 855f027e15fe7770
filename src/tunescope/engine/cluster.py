"""The Ray executor: one task per run, on a cluster that is there or on one started here.

A task has a process of its own, as with the process executor. What it finds it publishes in the store, which
every machine of the cluster must see under the same path; only events travel through Ray.
"""

import asyncio
import os
import signal
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tunescope.engine.connect import Connection, fits, room
from tunescope.engine.events import Event, sparing
from tunescope.engine.job import Job, attempt, cause_of
from tunescope.engine.plan import Planned
from tunescope.engine.process import cores
from tunescope.engine.worker import begin, shared
from tunescope.errors import StudyError
from tunescope.results.store import Store
from tunescope.study.engine import Engine

OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")  # hold on every machine
STEPS = 0.3  # seconds between two steps, or what is measured, that a task tells
GRACE = 5.0  # seconds for tasks to be gone
LOST = {
    "WorkerCrashedError": "its process was ended: by somebody, or by the system for want of memory",
    "OutOfMemoryError": "Ray ended its process for want of memory on its machine",
    "NodeDiedError": "the machine it was on was lost",
    "TaskCancelledError": "its task was cancelled",
}


@dataclass
class _Task:
    run: Planned
    number: int  # of the try
    reference: Any
    asked: bool = False  # to stop


class RayTasks:
    """A pool of Ray tasks, one for each run.

    Where this process is connected to Ray already, that connection is used and left as it is.

    Args:
        store: where runs are published.
        engine: what the study says about carrying out; a task reserves `gpus` graphics processors.
        workers: tasks at a time; None = as many as the cluster has cores and graphics processors for.
        threads: cores that a task reserves and computes on.
        address: of a cluster, as in `Connection`; one that is started here is ended by `close`.

    Raises:
        StudyError: Ray is not installed, nobody answers at the address, or this machine has too few
            graphics processors.
    """

    def __init__(
        self, store: Store, engine: Engine, workers: int | None, threads: int, address: str | None = None
    ):
        self._root, self._engine, self._threads = shared(store), engine, threads
        self._busy: dict[str, _Task] = {}
        self._asked: list[_Task] = []
        self._post: Any = None
        self._letters: Any = None
        self._number = 0
        self._offline = {name: os.environ[name] for name in OFFLINE if name in os.environ}
        self._connection = Connection(address, threads * (workers or max(1, cores() // threads)))
        self._ray = ray = self._connection.ray
        try:
            self.workers = workers or room(ray.cluster_resources(), threads, engine.gpus)
            if not fits(ray.nodes(), threads, engine.gpus):
                self._warn()
            # With max_calls=1 no run inherits the memory and the settings of another. No max_retries: the
            # supervisor tries again, and says why; Ray would do so in silence and, where a task ran out of
            # memory, without end.
            options = {"num_cpus": threads, "num_gpus": engine.gpus, "max_calls": 1, "max_retries": 0}
            self._work = ray.remote(**options)(_work)
            self._post = ray.remote(num_cpus=0, max_restarts=-1)(_Post).remote()
        except BaseException:
            self.close()
            raise

    def start(self, run: Planned) -> None:
        """Hand a task to Ray, which begins it where and when there is room."""
        self._number += 1
        job = Job(run, self._root, self._engine, self._threads)
        reference = self._work.remote(job, self._post, self._number, self._offline)
        self._busy[run.id] = _Task(run, self._number, reference)

    def wait(self, seconds: float) -> Iterable[Event]:
        """What the tasks have told."""
        while self._asked:
            self._ray.cancel(self._asked.pop().reference, force=False)
        if self._letters is None:
            self._letters = self._post.take.remote()
        tasks = {task.reference: task for task in self._busy.values()}
        awaited = [self._letters, *tasks]
        if self._ray.wait(awaited, num_returns=1, timeout=seconds)[0]:
            ready, _ = self._ray.wait(awaited, num_returns=len(awaited), timeout=0)
            if self._letters in ready:
                yield from self._told()
            for reference in ready:
                if reference in tasks:
                    yield self._ended(tasks[reference])

    def stop(self, run: Planned) -> None:
        """Interrupt the task, whose loop sees it after its step; one that has not begun never will."""
        if (task := self._busy.get(run.id)) is not None:
            task.asked = True
            self._asked.append(task)  # for `wait`: a signal may be handled in the middle of a call to Ray

    def kill(self, run: Planned) -> None:
        """End the task's process."""
        if (task := self._busy.get(run.id)) is not None:
            task.asked = False
            self._ray.cancel(task.reference, force=True)

    def close(self) -> None:
        """End all tasks' processes, and a cluster that was started here."""
        references = [task.reference for task in self._busy.values()]
        with suppress(self._ray.exceptions.RayError):
            for reference in references:
                self._ray.cancel(reference, force=True)
            if references:
                self._ray.wait(references, num_returns=len(references), timeout=GRACE)
            if self._post is not None:
                self._ray.kill(self._post)
        self._busy.clear()
        self._connection.close()

    def _warn(self) -> None:
        asked = f"a run asks for {self._threads} cores and {self._engine.gpus:g} graphics processors"
        if self._connection.here:
            raise StudyError(f"executor 'ray': {asked}, and this machine has fewer; change engine.gpus")
        warnings.warn(
            f"{asked}: no machine of the cluster has as many, so runs wait until one joins; engine.cpus and "
            "engine.gpus say what a run asks for",
            stacklevel=3,
        )

    def _told(self) -> Iterator[Event]:
        letters, self._letters = self._letters, None
        try:
            told = self._ray.get(letters)
        except self._ray.exceptions.RayError:  # its machine is lost; Ray starts it anew on another one
            time.sleep(STEPS)
            return
        for number, event in told:
            task = self._busy.get(event.run.id)
            if task is not None and task.number == number:  # no letter from a try that has ended
                yield event

    def _ended(self, task: _Task) -> Event:
        del self._busy[task.run.id]
        try:
            return self._ray.get(task.reference)
        except self._ray.exceptions.RayError as error:
            if task.asked and isinstance(error, self._ray.exceptions.TaskCancelledError):
                return Event("stopped", task.run)  # before it had begun
            return Event("died", task.run, text=ended_by(error))


class _Post:
    """Where tasks leave their events until the supervisor takes them; an actor."""

    def __init__(self):
        self._letters: list[tuple[int, Event]] = []
        self._some = asyncio.Event()

    async def put(self, number: int, event: Event) -> None:
        """Leave an event of the try of that number."""
        self._letters.append((number, event))
        self._some.set()

    async def take(self) -> list[tuple[int, Event]]:
        """All events left since, as soon as there is one."""
        await self._some.wait()
        self._some.clear()
        letters, self._letters = self._letters, []
        return letters


def _work(job: Job, post: Any, number: int, offline: dict[str, str]) -> Event:
    """A task: one try at one run."""
    os.environ.update(offline)
    stopping = begin(job, [signal.SIGINT])  # which is how Ray interrupts a task
    post_it = lambda event: post.put.remote(number, event)  # noqa: E731  # whether it arrives is not waited for
    return attempt(job, sparing(post_it, STEPS), stopping)


def ended_by(error: Exception) -> str:
    """Why a task came to no end of its own, in words.

    >>> class NodeDiedError(Exception): ...
    >>> ended_by(NodeDiedError())
    'the machine it was on was lost'
    """
    for cls in type(error).__mro__:
        if cls.__name__ in LOST:
            return LOST[cls.__name__]
    cause = getattr(error, "cause", None)
    return cause_of(cause if isinstance(cause, Exception) else error)[1]
