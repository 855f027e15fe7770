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


@dataclass
class _Busy:
    run: Planned
    started: float | None = None  # when it began to work, which a job in a cluster's queue has not
    overdue: bool = False
    asked: bool = False  # to stop


def supervise(
    todo: Sequence[Planned], pool: Pool, store: Store, tell: Tell, engine: Engine, fail_fast: bool = False
) -> bool:
    """Carry out the runs. Returns when each is published or has failed for good, or somebody asked to stop.

    A job that dies or takes longer than `engine.timeout` fails its own run, by name; the others go on. A run
    that failed is tried `engine.retries` times more, after the others.

    Returns:
        False where somebody asked to stop: running jobs have been checkpointed.

    Raises:
        KeyboardInterrupt: asked twice; running jobs have been ended.
    """
    ready = {run.id: 0.0 for run in todo}  # not before this moment
    queue, busy = list(todo), dict[str, _Busy]()
    lost: set[str] = set()
    tries = Counter({run.id: 0 if run.state == "quarantined" else run.tries for run in todo})

    def ask() -> None:
        for job in tuple(busy.values()):
            if not job.asked:
                job.asked = True
                pool.stop(job.run)

    def end(event: Event) -> None:
        run, job = event.run, busy.pop(event.run.id)
        if event.kind == "elsewhere":
            ready[run.id] = time.monotonic() + POLL
            queue.append(run)
        if event.kind == "died":
            if stopping() and not job.overdue:
                return
            cause = f"took longer than engine.timeout, {engine.timeout:g} s" if job.overdue else event.text
            failed(store, run, cause, "timeout" if job.overdue else "died")
            event = Event("failed", run, text=cause)
        if event.kind == "failed" and not store.has(run.id):  # else it was published as failed: it is done
            tries[run.id] += 1
            if tries[run.id] <= engine.retries and not stopping():
                queue.append(run)
                tell(Event("retried", run, text=event.text))
                return
        tell(event)
        lost.update([run.id] if event.kind == "failed" else [])

    try:
        with graceful(ask) as stopping:
            while queue or busy:
                if stopping() or (fail_fast and lost):
                    queue.clear()
                    ask()
                now = time.monotonic()
                for run in [run for run in queue if ready[run.id] <= now][: pool.workers - len(busy)]:
                    queue.remove(run)
                    busy[run.id] = _Busy(run)
                    pool.start(run)
                for event in pool.wait(POLL if busy else 0.1):
                    if event.kind in LAST:
                        end(event)
                        continue
                    if event.kind == "started":
                        busy[event.run.id].started = time.monotonic()
                    tell(event)
                for job in list(busy.values()):
                    if _overdue(job, engine.timeout):
                        job.overdue = True
                        pool.kill(job.run)
            return not stopping()
    finally:
        pool.close()


def _overdue(job: _Busy, timeout: float | None) -> bool:
    if timeout is None or job.started is None or job.overdue:
        return False
    return time.monotonic() - job.started > timeout
