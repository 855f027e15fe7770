"""Carry out runs with a pool of workers: who is next, who takes too long, who is tried again."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tunescope.engine.events import LAST, Event, Tell
from tunescope.engine.job import failed
from tunescope.engine.plan import Planned
from tunescope.engine.stopping import graceful
from tunescope.results.store import Store
from tunescope.study.engine import Engine

POLL = 1.0  # seconds between looks at a run that another process carries out
MOMENT = 0.1  # seconds, while nobody is at work


class Pool(Protocol):
    """Workers of one kind. One run is one job, and ends with exactly one event of `events.LAST`."""

    workers: int  # jobs at a time

    def start(self, run: Planned) -> None:
        """Begin a job."""
        ...

    def wait(self, seconds: float) -> Iterable[Event]:
        """What jobs have told since, waiting up to `seconds` for the first of it."""
        ...

    def stop(self, run: Planned) -> None:
        """Ask a job to checkpoint and end; called from a signal handler, so it must not block."""
        ...

    def kill(self, run: Planned) -> None:
        """End a job at once; its `died` event follows."""
        ...

    def close(self) -> None:
        """End whatever is still at work, at once, and give everything back."""
        ...


def supervise(
    todo: Sequence[Planned], pool: Pool, store: Store, tell: Tell, engine: Engine, fail_fast: bool = False
) -> bool:
    """Carry out the runs. Returns when each is published or has failed for good, or somebody asked to stop.

    A job that dies or takes longer than `engine.timeout` fails its own run, by name; the others go on. A run
    that failed is tried `engine.retries` times more, after the others.

    Args:
        todo: the runs.
        pool: who carries them out; closed at the end.
        store: where they are published, and failures recorded.
        tell: called with every event.
        engine: time limit and retries.
        fail_fast: the first run that fails for good ends the rest.

    Returns:
        False where somebody asked to stop: running jobs have been checkpointed.

    Raises:
        KeyboardInterrupt: asked twice; running jobs have been ended.
    """
    work = _Work(todo, pool, store, tell, engine)
    try:
        with graceful(work.ask) as stopping:
            while work.queue or work.busy:
                if stopping() or (fail_fast and work.lost):
                    work.queue.clear()
                    work.ask()
                work.fill()
                for event in pool.wait(POLL if work.busy else MOMENT):
                    work.hear(event, stopping())
                work.end_overdue()
            return not stopping()
    finally:
        pool.close()


@dataclass
class _Busy:
    run: Planned
    started: float | None = None  # when it began to work, which a job in a cluster's queue has not
    overdue: bool = False
    asked: bool = False  # to stop


class _Work:
    """What is left to do, and who is at what."""

    def __init__(self, todo: Sequence[Planned], pool: Pool, store: Store, tell: Tell, engine: Engine):
        self.pool, self.store, self.tell, self.engine = pool, store, tell, engine
        self.queue = list(todo)
        self.busy: dict[str, _Busy] = {}
        self.lost: set[str] = set()  # failed for good
        self._ready = {run.id: 0.0 for run in todo}  # not to be begun before this moment
        self._tries = Counter({run.id: 0 if run.state == "quarantined" else run.tries for run in todo})

    def fill(self) -> None:
        """Give every free worker the next run that may begin."""
        now = time.monotonic()
        may = [run for run in self.queue if self._ready[run.id] <= now]
        for run in may[: self.pool.workers - len(self.busy)]:
            self.queue.remove(run)
            self.busy[run.id] = _Busy(run)
            self.pool.start(run)

    def ask(self) -> None:
        """Ask whoever is at work to checkpoint and end, once."""
        for job in tuple(self.busy.values()):
            if not job.asked:
                job.asked = True
                self.pool.stop(job.run)

    def end_overdue(self) -> None:
        """End jobs that take too long."""
        for job in tuple(self.busy.values()):
            if self.engine.timeout is None or job.started is None or job.overdue:
                continue
            if time.monotonic() - job.started > self.engine.timeout:
                job.overdue = True
                self.pool.kill(job.run)

    def hear(self, event: Event, stopping: bool) -> None:
        """Take in what a job told."""
        if event.kind == "started":
            self.busy[event.run.id].started = time.monotonic()
        if event.kind not in LAST:
            self.tell(event)
            return
        job = self.busy.pop(event.run.id)
        if event.kind == "elsewhere" or (event.kind == "stopped" and not job.asked):
            self._ready[event.run.id] = time.monotonic() + POLL
            self.queue.append(event.run)
        if event.kind == "died":
            if job.asked and not job.overdue:  # before it could checkpoint: nobody's fault
                event = Event("stopped", event.run)
            else:
                event = self._died(event, job)
        if event.kind == "failed" and not self.store.has(event.run.id):  # else it was published as failed
            self._tries[event.run.id] += 1
            if self._tries[event.run.id] <= self.engine.retries and not stopping:
                self.queue.append(event.run)
                event = Event("retried", event.run, text=event.text)
        if event.kind == "failed":
            self.lost.add(event.run.id)
        self.tell(event)

    def _died(self, event: Event, job: _Busy) -> Event:
        cause, kind = event.text, "died"
        if job.overdue:
            cause, kind = f"took longer than engine.timeout, {self.engine.timeout:g} s", "timeout"
        failed(self.store, event.run, cause, kind)
        return Event("failed", event.run, text=cause)
