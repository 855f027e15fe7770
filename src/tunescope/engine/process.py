"""The process executor: one operating-system process per run, so that none takes another down.

The processes are forked from a server that has imported torch once and computed nothing. Each gets cores /
workers threads: two processes with two threads each ran six times slower on two cores than with one each.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess

from tunescope.engine.events import LAST, Event
from tunescope.engine.job import Job, attempt
from tunescope.engine.plan import Planned
from tunescope.engine.stopping import Stopping
from tunescope.results.store import Store
from tunescope.study.engine import Engine

PRELOAD = ["tunescope.engine.work"]
LEAVE = 30.0  # seconds for a worker to be gone after its last word


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shared_out(engine: Engine, workers: int | None) -> tuple[int, int]:
    """How many runs at a time, and how many cores for each, where nothing else has been said.

    The cores are divided by the workers asked for, not by those still busy: another number of threads rounds
    differently, and a study that goes on with its last run must come to the table of one that ran through.
    """
    at_a_time = workers or max(1, min(cores() // (engine.cpus or 1), 4))
    return at_a_time, engine.cpus or max(1, cores() // at_a_time)


def context(threads: int) -> ForkServerContext:
    """The way to start workers that compute on `threads` threads each."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)  # read by torch when the fork server imports it
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(PRELOAD)
    return made


@dataclass
class _Worker:
    run: Planned
    place: int
    process: ForkServerProcess
    pipe: Connection


class Processes:
    """A pool of processes on this machine, one for each run.

    Args:
        store: where runs are published.
        engine: what the study says about carrying out.
        workers: processes at a time.
        threads: cores of each.
    """

    def __init__(self, store: Store, engine: Engine, workers: int, threads: int):
        self.workers, self.threads = workers, threads
        self._store, self._engine = store, engine
        self._context = context(threads)
        self._busy: dict[str, _Worker] = {}

    def start(self, run: Planned) -> None:
        """Fork a worker."""
        place = min(set(range(self.workers)) - {worker.place for worker in self._busy.values()})
        job = Job(run, self._store.root, self._engine, self.threads, place)
        here, there = self._context.Pipe(duplex=False)
        process = self._context.Process(target=work, args=(job, there), daemon=True)
        process.start()
        there.close()
        self._busy[run.id] = _Worker(run, place, process, here)  # pyright: ignore[reportArgumentType]  # its stub knows Windows

    def wait(self, seconds: float) -> Iterable[Event]:
        """What the workers have told."""
        pipes = {worker.pipe: worker for worker in self._busy.values()}
        if not pipes:
            time.sleep(seconds)
        for pipe in wait(list(pipes), seconds):
            worker = pipes[pipe]  # pyright: ignore[reportArgumentType]
            try:
                event: Event = worker.pipe.recv()
            except (EOFError, OSError):  # it is gone, perhaps in the middle of a word
                yield Event("died", worker.run, text=self._end(worker))
                continue
            if event.kind in LAST:
                self._end(worker)
            yield event

    def stop(self, run: Planned) -> None:
        """SIGTERM: the worker's loop sees it after its step."""
        if (worker := self._busy.get(run.id)) is not None:
            worker.process.terminate()

    def kill(self, run: Planned) -> None:
        """SIGKILL."""
        if (worker := self._busy.get(run.id)) is not None:
            worker.process.kill()

    def close(self) -> None:
        """SIGKILL for all."""
        for worker in self._busy.values():
            worker.process.kill()
        for worker in list(self._busy.values()):
            self._end(worker)

    def _end(self, worker: _Worker) -> str:
        """Take leave of a worker; how its process ended, in words."""
        worker.pipe.close()
        worker.process.join(LEAVE)
        if worker.process.is_alive():  # its run is published or recorded; a thread of some library holds it
            worker.process.kill()
            worker.process.join()
        del self._busy[worker.run.id]
        return ended_by(worker.process.exitcode or 0)


def ended_by(code: int) -> str:
    """What an exit code says.

    >>> ended_by(-9)
    'its process was ended by SIGKILL: by somebody, or by the system for want of memory'
    """
    if code >= 0:
        return f"its process exited with {code} and without a word"
    name = signal.Signals(-code).name
    why = ": by somebody, or by the system for want of memory" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{why}"


def work(job: Job, pipe: Connection) -> None:
    """A worker's life: one try at one run."""
    stopping = Stopping()

    def ask(number: int, frame: object) -> None:
        stopping.asked = True

    signal.signal(signal.SIGTERM, ask)
    serve()
    import torch

    if job.threads is not None:
        torch.set_num_threads(job.threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(job.place % torch.cuda.device_count())
    pipe.send(attempt(job, pipe.send, stopping))


def serve() -> None:
    """Let this process live for its supervisor alone: end with it, and leave Ctrl-C to it.

    A worker whose supervisor was killed lets go of its claim at once, even if it hangs.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_it() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()
