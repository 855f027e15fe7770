"""submitit's jobs for real, as processes of this machine."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tiny_study import images, study

from tunescope.engine import slurm
from tunescope.engine.events import LAST, Event
from tunescope.engine.plan import Planned, plan
from tunescope.engine.slurm import SlurmJobs
from tunescope.errors import StudyError
from tunescope.results.store import Store
from tunescope.study.engine import Engine
from tunescope.study.study import load_study

# submitit leaves the processes of its local scheduler to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess [0-9]+ is still running:ResourceWarning")
LONG = "{epochs: 100000}"


@pytest.fixture(autouse=True)
def hearing() -> Iterator[None]:
    """Jobs are cancelled by SIGINT; a shell's background jobs ignore it, and so does all that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def jobs(tmp_path: Path, tiny_folder) -> Iterator[Callable[..., tuple[SlurmJobs, Store, list[Planned]]]]:
    """A pool, its store, and the runs of a study of a tiny model."""
    opened: list[SlurmJobs] = []

    def made(lr: str, train: str, **engine) -> tuple[SlurmJobs, Store, list[Planned]]:
        path, data = tmp_path / "tiny.yaml", images(tmp_path / "images")
        path.write_text(study(tiny_folder("vit"), data, f"{{full: {{adapt: full, lr: {lr}}}}}", train=train))
        store = Store(tmp_path / "results" / "store")
        opened.append(SlurmJobs(store, Engine(**engine), 2, 1, cluster="local"))
        return opened[0], store, plan(load_study(path), store)

    yield made
    for pool in opened:
        pool.close()


def until(pool: SlurmJobs, enough: Callable[[list[Event]], bool], seconds: float = 120) -> list[Event]:
    told: list[Event] = []
    deadline = time.monotonic() + seconds
    while not enough(told):
        assert time.monotonic() < deadline, told
        told += pool.wait(0.1)
    return told


def process_of(pool: SlurmJobs, run: Planned) -> psutil.Process:
    """The process that carries out a run; submitit watches it from one between."""
    return psutil.Process(int(pool._busy[run.id].job.job_id)).children()[0]


def test_a_job_that_dies_is_named_and_one_that_is_pre_empted_goes_on(jobs, monkeypatch):
    monkeypatch.setattr(slurm, "SEEN", 0.1)
    pool, store, (dies, goes_on) = jobs("[1.0e-4, 2.0e-4]", "{epochs: 100}", checkpoint=0.2)
    for run in (dies, goes_on):
        pool.start(run)
    told = until(pool, lambda _: all(store.unfinished(run.id).read() for run in (dies, goes_on)))
    assert {event.kind for event in told} == {"started"}
    pre_empted = process_of(pool, goes_on)
    process_of(pool, dies).kill()
    pre_empted.send_signal(signal.SIGUSR2)  # which is what Slurm sends
    told = until(pool, lambda told: len([event for event in told if event.kind in LAST]) == 2)
    (died,) = [event for event in told if event.run.id == dies.id]
    assert (died.kind, died.text) == ("died", "its job ended without a word")
    assert [event.kind for event in told if event.run.id == goes_on.id] == ["started", "done"]
    assert (store.has(dies.id), store.has(goes_on.id)) == (False, True)


def test_a_queue_is_stopped_and_one_is_ended(jobs):
    pool, store, (stopped, ended) = jobs("[1.0e-4, 2.0e-4]", LONG, checkpoint=0.2)
    for run in (stopped, ended):
        pool.start(run)
    told = until(pool, lambda _: all(store.unfinished(run.id).read() for run in (stopped, ended)))
    assert [event.kind for event in told] == ["started", "started"]
    process = process_of(pool, ended)
    pool.stop(stopped)
    pool.kill(ended)
    told = until(pool, lambda told: len(told) == 2)
    assert {event.run.id: event.kind for event in told} == {stopped.id: "stopped", ended.id: "died"}
    psutil.wait_procs([process], timeout=30)
    assert not process.is_running()


def test_without_slurm_or_submitit_the_fix_is_named(monkeypatch, tmp_path):
    store = Store(tmp_path / "store")
    with pytest.raises(StudyError, match='Could not detect "srun"'):
        SlurmJobs(store, Engine(), 1, 1)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(StudyError, match=r"tunescope\[slurm\]"):
        SlurmJobs(store, Engine(), 1, 1)
