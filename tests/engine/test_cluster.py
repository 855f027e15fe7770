"""A Ray of two workers, for real; started once."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import command
import pytest
from engine_study import STUDY
from tiny_study import images, study

from tunescope import api
from tunescope.engine.cluster import RayTasks
from tunescope.engine.events import LAST, Event
from tunescope.engine.plan import Planned, plan
from tunescope.engine.process import cores
from tunescope.errors import StudyError
from tunescope.results.store import Store
from tunescope.study.engine import Engine
from tunescope.study.study import load_study

NOBODY = "127.0.0.1:9"
LONG = "{epochs: 100000}"


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Iterator[RayTasks]:
    """A cluster on this machine for two runs at a time, as `--executor ray` starts it."""
    threads = max(1, cores() // 2)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED"):
            patch.setenv(name, "")  # so that what is set for Ray ends with this module
            del os.environ[name]
        patch.setenv("OMP_NUM_THREADS", str(threads))
        with closing(
            RayTasks(Store(tmp_path_factory.mktemp("local") / "store"), Engine(), 2, threads)
        ) as pool:
            yield pool


@pytest.fixture
def tiny(tmp_path: Path, tiny_folder) -> Callable[[str, str], tuple[Store, list[Planned]]]:
    """A store without a run, and the runs of a study of a tiny model, which goes on for so many epochs."""

    def planned(lr: str, train: str = LONG) -> tuple[Store, list[Planned]]:
        data = images(tmp_path / "images")
        path = tmp_path / "tiny.yaml"
        path.write_text(study(tiny_folder("vit"), data, f"{{full: {{adapt: full, lr: {lr}}}}}", train=train))
        store = Store(tmp_path / "results" / "store")
        return store, plan(load_study(path), store)

    return planned


def until(pool: RayTasks, enough: Callable[[list[Event]], bool], seconds: float = 120) -> list[Event]:
    """What the pool tells until it is enough."""
    told: list[Event] = []
    deadline = time.monotonic() + seconds
    while not enough(told):
        assert time.monotonic() < deadline, told
        told += pool.wait(1.0)
    return told


def test_a_local_cluster_comes_to_the_table_of_processes_though_a_worker_is_killed(
    local, straight, tmp_path, capfd
):
    folder, _ = straight
    (tmp_path / "small.yaml").write_text(STUDY)
    events: list[Event] = []
    killed: list[int] = []

    def tell(event: Event) -> None:
        events.append(event)
        if event.kind == "started" and event.run.member.group == "lora" and not killed:
            killed.append(event.pid)
            os.kill(event.pid, signal.SIGKILL)

    result = api.run(tmp_path / "small.yaml", tmp_path / "results", tell, executor="ray", workers=2)
    assert [run.state for run in result.runs] == ["done"] * 4
    (again,) = [event for event in events if event.kind == "retried"]
    assert again.run.member.group == "lora"
    assert again.text == "its process was ended: by somebody, or by the system for want of memory"
    for run in result.runs:
        kinds = [event.kind for event in events if event.run.id == run.id]
        assert kinds[-1] == "done"
        assert set(kinds) - {"retried"} == {"started", "step", "done"}
    theirs = {event.pid for event in events if event.kind in ("started", "step", "done")}
    assert os.getpid() not in theirs
    assert len(theirs) == 5, "each try has a process of its own"
    assert command.comparable(tmp_path / "results" / "small").equals(
        command.comparable(folder / "results" / "small")
    )
    assert capfd.readouterr().out == "", "stdout is for results"


def test_tasks_are_stopped_before_and_after_they_begin_and_go_on(local, tiny):
    store, (first, second, third) = tiny("[1.0e-4, 2.0e-4, 3.0e-4]")
    with closing(RayTasks(store, Engine(), 3, local._threads)) as pool:
        for run in (first, second, third):
            pool.start(run)
        told = until(pool, lambda told: len({event.run.id for event in told if event.kind == "step"}) == 2)
        at_work = {event.run.id for event in told}
        (waiting,) = [run for run in (first, second, third) if run.id not in at_work]
        stopped, killed = [run for run in (first, second, third) if run.id in at_work]
        local._ray.kill(pool._post, no_restart=False)  # progress is lost, runs are not
        pool.stop(waiting)
        pool.stop(stopped)
        pool.kill(killed)
        told = until(pool, lambda told: len([event for event in told if event.kind in LAST]) == 3)
    ends = {event.run.id: event for event in told if event.kind in LAST}
    assert [ends[run.id].kind for run in (waiting, stopped, killed)] == ["stopped", "stopped", "died"]
    assert ends[stopped.id].text.startswith("stopped after step")
    assert ends[killed.id].text == "its task was cancelled"
    assert not any(store.has(run.id) for run in (first, second, third))
    assert store.unfinished(stopped.id).read() is not None
    assert store.unfinished(waiting.id).read() is None
    assert local._ray.is_initialized(), "a connection of others is left as it is"


def test_a_machine_without_the_store_says_so(local, tiny):
    store, (run,) = tiny("1.0e-4")
    with closing(RayTasks(store, Engine(), 1, local._threads)) as pool:
        (store.root / "store.json").unlink()
        pool.start(run)
        told = until(pool, lambda told: told != [])
    assert [event.kind for event in told] == ["died"]
    assert told[0].text.startswith(f"{store.root}: there is no store on {os.uname().nodename}")
    assert list(store.root.iterdir()) == [], "and nothing was made there"


def test_ctrl_c_checkpoints_on_a_cluster_that_was_there(local, tiny, tmp_path):
    store, (run,) = tiny("1.0e-4")
    address = local._ray.get_runtime_context().gcs_address
    process = command.start(
        *("run", tmp_path / "tiny.yaml", "--results", tmp_path / "results", "--workers", 2),
        *("--executor", "ray", "--address", address),
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (store.root / "claims" / f"{run.id[:16]}.lock").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert (out, "Traceback" in err) == ("", False), err
    assert store.unfinished(run.id).read() is not None


def test_workers_default_to_what_the_cluster_carries(local, tmp_path):
    with closing(RayTasks(Store(tmp_path / "store"), Engine(), None, local._threads)) as pool:
        assert pool.workers == 2


def test_a_run_that_no_machine_can_carry_is_said(local, tmp_path, monkeypatch):
    store, engine = Store(tmp_path / "store"), Engine(gpus=64)
    with (
        pytest.warns(UserWarning, match=r"64 graphics processors: no machine of the cluster has as many"),
        closing(RayTasks(store, engine, 1, local._threads)),
    ):
        pass
    monkeypatch.setattr(local, "_engine", engine)
    with pytest.raises(StudyError, match=r"this machine has fewer; change engine\.gpus"):
        local._warn()


def test_an_address_where_nobody_listens_is_the_users_mistake(tmp_path):
    (tmp_path / "small.yaml").write_text(STUDY)
    code, out, err = command.run(
        "run", tmp_path / "small.yaml", "--results", tmp_path, "--executor", "ray", "--address", NOBODY
    )
    assert code == 2, err
    assert out == ""
    assert f"nobody answers at '{NOBODY}'" in err
    assert "Traceback" not in err


def test_without_ray_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(StudyError, match=r"pip install 'tunescope\[ray\]'"):
        RayTasks(Store(tmp_path / "store"), Engine(), 1, 1)
