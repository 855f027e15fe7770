import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from engine_study import STUDY

from tunescope import api
from tunescope.engine.events import Event
from tunescope.engine.plan import plan
from tunescope.engine.process import cores
from tunescope.errors import MethodError, TunescopeError
from tunescope.results.store import Store
from tunescope.results.table import Table
from tunescope.study.study import load_study


@pytest.fixture
def small(tmp_path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(STUDY)
    return path


def comparable(folder: Path) -> pa.Table:
    """The rows in a fixed order, without the wall clock."""
    rows = Table.read(folder).rows
    rows = rows.filter(pc.field("metric") != "training.seconds")
    return rows.sort_by(
        [(name, "ascending") for name in rows.column_names if name not in ("value", "std", "n")]
    )


def cli(*arguments: object, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tunescope.cli.main", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_every_run_is_told_and_published(straight):
    folder, events = straight
    assert sorted(event.run.member.name for event in events if event.kind == "done") == [
        "full lr=0.0001 seed=0",
        "full lr=0.001 seed=0",
        "lora lr=0.001 seed=0",
        "probe lr=0.01 seed=0",
    ]
    steps = [event for event in events if event.kind == "step" and event.run.member.group == "lora"]
    assert [event.step for event in steps] == list(range(1, steps[0].steps + 1))
    assert (folder / "results" / "small" / "report.html").stat().st_size < 3e6


def test_a_finished_study_computes_nothing(straight):
    folder, _ = straight
    before = {path: path.stat().st_mtime_ns for path in (folder / "results" / "store" / "runs").rglob("*")}
    events: list[Event] = []
    api.run(folder / "small.yaml", folder / "results", tell=events.append)
    assert events == []
    assert {
        path: path.stat().st_mtime_ns for path in (folder / "results" / "store" / "runs").rglob("*")
    } == before


def test_serial_and_process_come_to_the_same_table(straight, small, tmp_path):
    folder, _ = straight
    threads = torch.get_num_threads()
    torch.set_num_threads(
        max(1, cores() // 2)
    )  # as each of two workers: the number of threads decides rounding
    try:
        api.run(small, tmp_path / "results", executor="serial")
    finally:
        torch.set_num_threads(threads)
    assert comparable(tmp_path / "results" / "small").equals(comparable(folder / "results" / "small"))


def test_killed_and_resumed_equals_uninterrupted(straight, small, tmp_path):
    folder, _ = straight
    store = Store(tmp_path / "results" / "store")
    process = cli("run", small, "--results", tmp_path / "results", "--workers", 2, start_new_session=True)
    deadline = time.monotonic() + 120
    while not any(run.state == "done" for run in plan(load_study(small), store)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)  # into the next run
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    there = set(store.ids())
    states = [run.state for run in plan(load_study(small), store)]
    assert 0 < states.count("done") < len(states)
    assert store.verify() == []

    events: list[Event] = []
    api.run(small, tmp_path / "results", workers=2, tell=events.append)
    assert not there & {event.run.id for event in events}, "a published run was carried out again"
    assert comparable(tmp_path / "results" / "small").equals(comparable(folder / "results" / "small"))


def test_a_killed_worker_fails_its_own_run_alone_and_is_made_up_for(small, tmp_path):
    killed: list[int] = []

    def tell(event: Event) -> None:
        if event.kind == "step" and event.run.member.group == "lora" and not killed:
            killed.append(event.pid)
            os.kill(event.pid, signal.SIGKILL)

    result = api.run(small, tmp_path / "results", workers=2, tell=tell)
    states = {run.member.group: (run.state, run.cause) for run in result.runs}
    assert killed
    assert states["lora"] == ("missing", "its process was ended by SIGKILL")
    assert states["full"][0] == states["probe"][0] == "done"
    again = api.run(small, tmp_path / "results")
    assert [run.state for run in again.runs] == ["done"] * 4


def test_a_diverging_run_is_named_and_the_study_goes_on(small, tmp_path):
    small.write_text(small.read_text().replace("lr: [1e-4, 1e-3]", "lr: [1e-4, 1e+30]"))
    process = cli("run", small, "--results", tmp_path / "results")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    assert "failed: full lr=1e+30 seed=0: diverged at step" in err
    assert "Traceback" not in err
    assert "report: " in out
    runs = Table.read(tmp_path / "results" / "small").runs.to_pylist()
    assert sorted(run["status"] for run in runs) == ["done", "done", "done", "failed"]
    lost = next(run["run"] for run in runs if run["status"] == "failed")
    written = Store(tmp_path / "results" / "store").read(lost).rows
    assert set(written["metric"].to_pylist()) >= {"training.loss"}, "how it came to that is kept"
    page = (tmp_path / "results" / "small" / "report.html").read_text()
    assert "diverged at step" in page


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rank: 2", "rank: 4096", ["runs.lora", "rank", "4096"]),
        ("emoji/openmoji-line", "emoji/openmoji-lime", ["openmoji-lime", "did you mean"]),
        ("model: emoji-clip", "model: emoji-clpi", ["emoji-clpi", "did you mean 'emoji-clip'"]),
        ("label: group", "label: grope", ["grope"]),
    ],
)
def test_a_mistake_stops_the_study_before_it_starts(small, tmp_path, old, new, said):
    small.write_text(small.read_text().replace(old, new))
    process = cli("run", small, "--results", tmp_path / "results")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert "Traceback" not in err
    for part in said:
        assert part in err
    assert out == ""
    assert Store(tmp_path / "results" / "store").ids() == []


def test_errors_cross_the_process_boundary_as_what_they_are(small, tmp_path):
    small.write_text(small.read_text().replace("rank: 2", "rank: 4096"))
    with pytest.raises(MethodError):
        api.run(small, tmp_path / "results")


def test_a_store_of_a_newer_version_is_refused(small, tmp_path):
    store = tmp_path / "results" / "store"
    store.mkdir(parents=True)
    (store / "store.json").write_text('{"schema": 99}')
    with pytest.raises(TunescopeError, match="99"):
        api.run(small, tmp_path / "results")


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(small, tmp_path):
    process = cli("run", small, "--results", tmp_path / "results", start_new_session=True)
    store = Store(tmp_path / "results" / "store")
    deadline = time.monotonic() + 120
    while not store.ids():  # the base has been measured, so runs are under way
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; the same command goes on from here" in err
    assert "Traceback" not in err
    assert store.verify() == []
    assert [run.cause for run in plan(load_study(small), store)] == [""] * 4
