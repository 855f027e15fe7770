import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from engine_study import STUDY
from tiny_study import images, study

from tunescope import api
from tunescope.engine.events import Event
from tunescope.engine.plan import plan
from tunescope.engine.process import cores
from tunescope.errors import MethodError, Stopped, TunescopeError
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


@contextmanager
def one_thread() -> Iterator[None]:
    """As many threads as each of two workers has: their number decides rounding."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, cores() // 2))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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
    with one_thread():
        api.run(small, tmp_path / "results", executor="serial")
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


def test_a_killed_worker_takes_no_other_down_and_is_made_up_for(straight, small, tmp_path):
    events: list[Event] = []

    def tell(event: Event) -> None:
        events.append(event)
        if event.kind == "step" and event.run.member.group == "lora" and not retried(events):
            os.kill(event.pid, signal.SIGKILL)

    result = api.run(small, tmp_path / "results", workers=2, tell=tell)
    assert [run.state for run in result.runs] == ["done"] * 4
    assert [event.run.member.group for event in retried(events)] == ["lora"]
    assert "SIGKILL" in retried(events)[0].text
    folder, _ = straight
    assert comparable(tmp_path / "results" / "small").equals(comparable(folder / "results" / "small"))


def test_who_is_killed_again_and_again_is_quarantined(small, tmp_path):
    def tell(event: Event) -> None:
        if event.kind == "step" and event.run.member.group == "lora":
            os.kill(event.pid, signal.SIGKILL)

    result = api.run(small, tmp_path / "results", workers=2, tell=tell)
    states = {run.member.group: (run.state, run.tries) for run in result.runs}
    assert states == {"full": ("done", 0), "lora": ("quarantined", 2), "probe": ("done", 0)}
    events: list[Event] = []
    api.run(small, tmp_path / "results", tell=events.append)
    assert events == []
    again = api.run(small, tmp_path / "results", retry=True)
    assert [run.state for run in again.runs] == ["done"] * 4


def retried(events: list[Event]) -> list[Event]:
    return [event for event in events if event.kind == "retried"]


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
    assert "stopped; runs under way are checkpointed, and the same command goes on from here" in err
    assert "Traceback" not in err
    assert store.verify() == []
    assert [run.cause for run in plan(load_study(small), store)] == [""] * 4


@pytest.mark.parametrize("executor", ["process", "serial"])
def test_the_first_ctrl_c_checkpoints_and_the_study_goes_on_from_there(tiny_folder, tmp_path, executor):
    data = images(tmp_path / "images")
    path = tmp_path / "tiny.yaml"
    runs = "{full: {adapt: full, lr: [1.0e-3, 2.0e-3]}, probe: {adapt: linear_probe, lr: 1.0e-2}}"
    path.write_text(study(tiny_folder("vit"), data, runs, train="{epochs: 8, batch_size: 8}"))
    options = {"executor": executor, "workers": 2}
    told: list[Event] = []

    def interrupt(event: Event) -> None:
        told.append(event)
        if (event.kind, event.step) == ("step", 3) and event.run.member.group == "full":
            os.kill(os.getpid(), signal.SIGINT)

    with one_thread():
        straight = api.run(path, tmp_path / "straight", **options)
        results, resumed = tmp_path / "results", list[Event]()
        with pytest.raises(Stopped):
            api.run(path, results, tell=interrupt, **options)
        stopped = {event.run.id for event in told if event.kind == "stopped"}
        store = Store(results / "store")
        assert stopped
        assert all(store.unfinished(id).read() is not None for id in stopped)
        result = api.run(path, results, tell=resumed.append, **options)
    for id in stopped:
        first = next(event for event in resumed if event.run.id == id and event.kind == "step")
        assert first.step > 1, "it began anew"
    assert comparable(result.folder).equals(comparable(straight.folder))
    for run in result.runs:
        places = (results, tmp_path / "straight")
        one, other = (Store(place / "store").read(run.id).weights for place in places)
        assert one is not None
        assert other is not None
        assert one.read_bytes() == other.read_bytes()


def test_two_studies_share_the_runs_that_they_have_in_common(tiny_folder, tmp_path):
    data, results = images(tmp_path / "images"), tmp_path / "results"
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text(study(tiny_folder("vit"), data, "{a: {adapt: full, lr: [1.0e-3, 2.0e-3]}}"))
    runs = "{b: {adapt: full, lr: 1.0e-3}, c: {adapt: linear_probe, lr: 1.0e-3}}"
    other.write_text(study(tiny_folder("vit"), data, runs).replace("study: tiny", "study: other"))
    api.run(one, results, executor="serial")
    bases = set(Store(results / "store").ids())
    events: list[Event] = []
    result = api.run(other, results, tell=events.append, executor="serial")
    assert {event.run.member.group for event in events} == {"c"}
    assert [run.state for run in result.runs] == ["done", "done"]
    assert len(set(Store(results / "store").ids()) - bases) == 1  # nor is the base model measured again


def test_in_this_process_too_a_run_computes_on_the_cores_that_the_study_says(tiny_folder, tmp_path):
    path, data = tmp_path / "tiny.yaml", images(tmp_path / "images")
    runs = "{a: {adapt: full, lr: 1.0e-3}}"
    before = torch.get_num_threads()
    path.write_text(study(tiny_folder("vit"), data, runs, engine=f"{{cpus: {before + 1}}}"))
    threads = {}
    tell = lambda event: threads.update({event.kind: torch.get_num_threads()})  # noqa: E731
    api.run(path, tmp_path / "results", tell=tell, executor="serial")
    assert threads["step"] == before + 1
    assert torch.get_num_threads() == before


def test_a_run_that_collapses_is_stopped_and_measured_as_it_is(tiny_folder, tmp_path):
    path, data = tmp_path / "tiny.yaml", images(tmp_path / "images", each=40)
    rule = "{metric: representation.cka, below: 0.9}"
    watched = f"{{probes: [representation], every: 2, stop_on_collapse: {rule}}}"
    train = f"{{epochs: 2, batch_size: 8, monitor: {watched}, converged: {{metric: loss, within: 0.0}}}}"
    runs = "{wild: {adapt: full, lr: 0.3}, calm: {adapt: full, lr: 1.0e-6}}"
    path.write_text(study(tiny_folder("vit"), data, runs, train=train))
    result = api.run(path, tmp_path / "results", executor="serial")
    assert [run.cause for run in result.runs] == ["", ""]
    wild, calm = (Store(tmp_path / "results" / "store").read(run.id) for run in result.runs)
    assert wild.outcome["status"] == calm.outcome["status"] == "done"
    assert wild.outcome["stopped"].startswith("collapse: representation.cka is")
    assert "stopped" not in calm.outcome
    stopped = result.table.per_run("training.stopped")
    assert [(run.group, run.value) for run in stopped] == [("wild", 2)]
    assert [run.value for run in result.table.per_run("training.converged")] == [0.0, 0.0]
    steps = result.table.curve("representation.cka")
    calm_steps = {r["step"] for r in steps.to_pylist() if r["group"] == "calm"}
    assert calm_steps == set(range(0, 19, 2))
    measured = result.table.per_run("transfer.acc1", {"split": "test"})
    assert len(measured) == 2
    page = result.report.read_text()
    assert "collapse" in page
    assert "did not converge" in page
