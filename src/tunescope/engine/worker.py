"""What a process that a cluster started does before its run."""

import os
import signal
from collections.abc import Iterable
from pathlib import Path

from tunescope.engine.job import Job
from tunescope.engine.stopping import Stopping
from tunescope.errors import StoreError
from tunescope.results.layout import is_store, make
from tunescope.results.store import Store
from tunescope.results.writing import writing


def shared(store: Store) -> Path:
    """The absolute path of a store for workers on other machines; made, so that they can know it.

    Raises:
        StoreError: the store cannot be written.
    """
    with writing(store.root, "make the store"):
        make(store.root)
    return store.root.absolute()  # not resolved: other machines may reach it by the link only


def begin(job: Job, signals: Iterable[signal.Signals]) -> Stopping:
    """Make this process the job's own: it computes on `job.threads` threads, and the signals ask it to stop.

    To be called first of all, in the main thread and before torch is imported.

    Raises:
        StoreError: the store does not lie here.
    """
    stopping = Stopping()

    def ask(number: int, frame: object) -> None:
        stopping.asked = True

    for number in signals:
        signal.signal(number, ask)
    if not is_store(job.root):
        raise StoreError(
            f"{job.root}: there is no store on {os.uname().nodename}, where the run was to be carried out; "
            "give --results a folder that every machine of the cluster sees under the same path"
        )
    if job.threads is not None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(job.threads)
        import torch

        torch.set_num_threads(job.threads)
    return stopping
