"""Carry out a study: what is missing of it, and nothing else."""

import signal
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Literal

from tunescope.engine.check import check
from tunescope.engine.events import Tell
from tunescope.engine.plan import Planned, plan
from tunescope.engine.process import context, cores, processes
from tunescope.engine.serial import serial
from tunescope.results.store import Store
from tunescope.study.study import Study

Executor = Literal["serial", "process"]


def execute(
    study: Study, store: Store, tell: Tell, executor: Executor = "process", workers: int | None = None
) -> list[Planned]:
    """Carry out the runs of a study that the store does not hold.

    Args:
        study: what to carry out.
        store: where runs are published, and found again.
        tell: called with every event, in this process.
        executor: `process` (one operating-system process per run) or `serial` (here).
        workers: processes at a time; by default one for each core, at most four.

    Returns:
        the plan as it stands afterwards: a run that is still missing has failed, with its cause.

    Raises:
        TunescopeError: something that the study asks for does not fit; nothing has been started.
    """
    todo = {run.id: run for run in plan(study, store) if run.state == "missing"}
    if todo:
        members = [run.member for run in todo.values()]
        if executor == "serial":
            check(members)
            serial(list(todo.values()), store, tell)
        else:
            workers = workers or min(cores(), 4)
            # Of the workers asked for, not of those still busy: another number of threads rounds differently,
            # and a study that goes on with its last run must come to the table of one that ran through.
            made = context(threads=max(1, cores() // workers))
            quiet = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_IGN)}
            with ProcessPoolExecutor(1, made, **quiet) as pool:  # this process stays free of torch
                pool.submit(check, members).result()
            processes(list(todo.values()), store, tell, workers, made)
    return plan(study, store)


def counts(planned: Iterable[Planned]) -> dict[str, int]:
    """How many runs stand where: `{"done": …, "failed": …, "missing": …}`."""
    found = {"done": 0, "failed": 0, "missing": 0}
    for run in planned:
        found[run.state] += 1
    return found
