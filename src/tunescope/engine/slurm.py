"""The Slurm executor: one job per run. submitit's own files, logs and pickled calls, lie in `slurm/`."""

import logging
import math
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tunescope.engine.events import Event
from tunescope.engine.job import Job, attempt, cause_of
from tunescope.engine.plan import Planned
from tunescope.engine.worker import begin, shared
from tunescope.errors import StudyError
from tunescope.results.store import Store
from tunescope.study.engine import Engine

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)  # scancel, pre-emption, the time limit coming near
DAY = 24 * 3600.0  # seconds a job may take; at its limit a run is checkpointed and handed in again
SEEN, STOPPED = 15.0, 60.0  # seconds for a file to be seen on another machine; for a job to checkpoint


@dataclass
class _Submitted:
    run: Planned
    job: Any
    started: bool = False
    until: float = math.inf  # the moment from which its result is not waited for


class SlurmJobs:
    """A pool of jobs that tell their start and end. Raises StudyError where submitit or Slurm is missing."""

    def __init__(self, store: Store, engine: Engine, workers: int, threads: int, cluster: str = "slurm"):
        self.workers, self._threads, self._engine, self._root = workers, threads, engine, shared(store)
        self._busy: dict[str, _Submitted] = {}
        self._asked: set[str] = set()  # to stop
        try:
            import submitit

            self._executor = submitit.AutoExecutor(self._root / "slurm" / str(time.time_ns()) / "%j", cluster)
        except (ImportError, RuntimeError) as error:
            raise StudyError(f"executor 'slurm': {error}; use tunescope[slurm], on a Slurm cluster") from None
        logging.getLogger("submitit").setLevel(logging.CRITICAL)  # it writes to stdout
        limit = math.ceil((engine.timeout or DAY) / 60) + 5  # minutes, after the supervisor's own
        asks = {"cpus_per_task": threads, "gpus_per_node": math.ceil(engine.gpus) or None}
        self._executor.update_parameters(name="tunescope", timeout_min=limit, **asks)

    def start(self, run: Planned) -> None:
        job = self._executor.submit(_work, Job(run, self._root, self._engine, self._threads))
        self._busy[run.id] = _Submitted(run, job)

    def wait(self, seconds: float) -> list[Event]:
        told = [event for submitted in list(self._busy.values()) for event in self._look(submitted)]
        time.sleep(0 if told else seconds)
        return told

    def stop(self, run: Planned) -> None:
        self._asked.add(run.id)  # `wait` has it cancelled: it checkpoints, or leaves the queue

    def kill(self, run: Planned) -> None:
        self._busy[run.id].job.cancel(check=False)
        self._busy[run.id].until = 0.0

    def close(self) -> None:
        for submitted in self._busy.values():
            submitted.job.cancel(check=False)

    def _look(self, it: _Submitted) -> Iterator[Event]:
        now, asked = time.monotonic(), it.run.id in self._asked
        if not it.started and it.job.paths.stdout.exists():  # sooner, and cheaper, than Slurm would say it
            it.started = True
            yield Event("started", it.run)
        if asked and it.until == math.inf:
            it.job.cancel(check=False)
            it.until = now + STOPPED * it.started
        if it.until and it.job.paths.result_pickle.exists():
            event: Event = self._busy.pop(it.run.id).job.result()
            shutil.rmtree(it.job.paths.folder, ignore_errors=True)
            if event.kind != "stopped" or asked:
                yield event
            else:  # pre-empted, or out of time: it goes on from its checkpoint
                self.start(it.run)
        elif now >= it.until:
            del self._busy[it.run.id]
            cause = ((it.job.stderr() or "").strip() or "its job ended without a word").splitlines()[-1]
            yield Event("died" if it.started or not asked else "stopped", it.run, text=cause)
        elif it.until == math.inf and it.job.done():
            it.until = now + SEEN


def _work(job: Job) -> Event:
    try:
        return attempt(job, lambda event: None, begin(job, ENDING))
    except Exception as error:
        return Event("died", job.run, text=cause_of(error)[1])
