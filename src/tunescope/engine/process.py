"""The process executor: one operating-system process per run, so that none takes another down.

The processes are forked from a server that has imported torch once and computed nothing. Each gets cores /
workers threads: two processes with two threads each ran six times slower on two cores than with one each.
"""

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from tunescope.engine.events import Event, Tell
from tunescope.engine.plan import Planned
from tunescope.engine.serial import POLL, attempt
from tunescope.results.store import Store

PRELOAD = ["tunescope.engine.work"]


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    process: ForkServerProcess
    pipe: Connection


def processes(
    todo: Sequence[Planned], store: Store, tell: Tell, workers: int, made: ForkServerContext
) -> None:
    """Carry out the runs, `workers` at a time. Returns when each is published or has failed.

    A worker that dies (killed, out of memory) fails its own run, by name; the others go on.
    """
    queue = deque(todo)
    busy: dict[Connection, _Worker] = {}
    try:
        while queue or busy:
            while queue and len(busy) < workers:
                worker = _start(made, queue.popleft(), store)
                busy[worker.pipe] = worker
            for ready in wait(list(busy)):
                worker = busy[ready]  # pyright: ignore[reportArgumentType]
                try:
                    event: Event = worker.pipe.recv()
                except EOFError:
                    del busy[worker.pipe]
                    _end(worker, store, tell)
                    continue
                if event.kind == "elsewhere":
                    queue.append(worker.run)
                tell(event)
    finally:
        for worker in busy.values():
            worker.process.kill()
        for worker in busy.values():
            worker.process.join()


def _start(made: ForkServerContext, run: Planned, store: Store) -> _Worker:
    here, there = made.Pipe(duplex=False)
    process = made.Process(target=_work, args=(run, store.root, there), daemon=True)
    process.start()
    there.close()
    return _Worker(run, process, here)  # pyright: ignore[reportArgumentType]  # its stub knows Windows


def _end(worker: _Worker, store: Store, tell: Tell) -> None:
    worker.pipe.close()
    worker.process.join()
    code = worker.process.exitcode
    if code:
        cause = (
            f"its process was ended by {signal.Signals(-code).name}"
            if code < 0
            else f"its process exited with {code}"
        )
        store.fail(worker.run.id, cause)
        tell(Event("failed", worker.run, text=cause))


def _work(run: Planned, root: Path, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor ends its workers
    import torch

    def tell(event: Event) -> None:
        try:
            pipe.send(event)
        except BrokenPipeError:  # the supervisor is gone: leave the run to the next one
            os._exit(1)

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if not attempt(run, Store(root), tell):
        time.sleep(POLL)
