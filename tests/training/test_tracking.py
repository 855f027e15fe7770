import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, register_tracker_class

from tunescope.errors import StudyError
from tunescope.training.tracking import Trackers, _settings, check_trackers, flat

CONFIG = {"lr": 1e-3, "adapt": {"kind": "lora", "rank": 2, "alpha": None}, "probes": [{"kind": "attention"}]}
LINES = [
    {"reused": None, "because": "augmented"},
    {"step": 1, "epoch": 0, "loss": 1.25, "lr": 1e-3, "grad_norm": 0.5, "penalties": {"entropy_floor": 0.25}},
    {
        "step": 2,
        "epoch": 0,
        "loss": 0.75,
        "lr": 5e-4,
        "grad_norm": 0.125,
        "penalties": {"entropy_floor": 0.0},
    },
    {"step": 2, "epoch": 0, "val_acc1": 0.875},
    {"step": 2, "stopped": "collapse: attention.entropy is 1 at step 2"},
]


def test_tensorboard_holds_what_was_logged(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Trackers(["tensorboard"], tmp_path / "tracked", "lora r=2", CONFIG) as trackers:
        for line in LINES:
            trackers.line(line)
        trackers.log({"attention": {"entropy": 2.5}}, 4)
    found = EventAccumulator(str(tmp_path / "tracked" / "lora r=2")).Reload()
    values = {
        tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]
    }
    assert values == {
        "val_acc1": [(2, 0.875)],
        "loss": [(1, 1.25), (2, 0.75)],
        "lr": [(1, pytest.approx(1e-3)), (2, pytest.approx(5e-4))],
        "grad_norm": [(1, 0.5), (2, 0.125)],
        "epoch": [(1, 0), (2, 0), (2, 0)],
        "penalties/entropy_floor": [(1, 0.25), (2, 0.0)],
        "attention/entropy": [(4, 2.5)],
    }
    settings = next((tmp_path / "tracked" / "lora r=2").rglob("hparams.yml")).read_text()
    assert "adapt/rank: 2" in settings
    assert "adapt/alpha: None" in settings
    assert "probes/0/kind: attention" in settings


def test_off_by_default_and_then_nothing_is_imported(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tunescope.training.tracking import Trackers\n"
        f"with Trackers((), Path({str(tmp_path / 'tracked')!r}), 'run', {{}}) as trackers:\n"
        "    trackers.line({'step': 1, 'loss': 0.5})\n"
        "assert not {'torch', 'accelerate', 'tensorboard'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not (tmp_path / "tracked").exists()


def test_unknown_and_missing_trackers_are_the_users_mistake(tmp_path):
    with pytest.raises(StudyError, match="unknown tracker 'tensorbord'; did you mean 'tensorboard'"):
        Trackers(["tensorbord"], tmp_path, "run", {})
    with pytest.raises(StudyError, match="'comet_ml' needs the package 'comet-ml', which is not installed"):
        check_trackers(["tensorboard", "comet_ml"])
    check_trackers(["tensorboard"])


class Recorder(GeneralTracker):
    """Writes down what it is told, and fails when it is told to."""

    name = "recorder"
    requires_logging_directory = True
    fails = ""
    seen: list[tuple]

    def __init__(self, project: str, folder: str):
        super().__init__()
        self.told = (project, folder)

    @property
    def tracker(self):
        return self

    def _note(self, what: str, *said):
        if what == self.fails:
            raise ConnectionError(f"no network to {what}")
        Recorder.seen.append((what, *said))

    def start(self):
        self._note("start", *self.told, os.environ["MLFLOW_TRACKING_URI"])

    def store_init_configuration(self, values):
        self._note("config", values)

    def log(self, values, step=None, **kwargs):
        self._note("log", values, step)

    def finish(self):
        self._note("finish")


@pytest.fixture
def recorder(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    register_tracker_class(Recorder)
    Recorder.seen = []
    yield Recorder
    Recorder.fails = ""
    del LOGGER_TYPE_TO_CLASS["recorder"]


def test_what_a_tracker_is_told(recorder, tmp_path):
    with Trackers(["recorder", "recorder"], tmp_path, "run", {"a": {"b": True}}, project="mine") as trackers:
        trackers.log({"loss": 0.5, "note": "text", "flag": True}, 3)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert recorder.seen == [
        ("start", "mine", str(tmp_path), uri),
        ("config", {"a/b": True}),
        ("log", {"loss": 0.5}, 3),
        ("finish",),
    ]
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert list(tmp_path.iterdir()) == []


def test_a_server_of_the_environment_stands(recorder, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    with Trackers(["recorder"], tmp_path, "run", {}):
        assert recorder.seen[0][-1] == "http://server"
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://server"


@pytest.mark.parametrize(
    ("fails", "left"),
    [
        ("start", []),
        ("config", ["start", "log", "log", "finish"]),
        ("log", ["start", "config", "finish"]),
        ("finish", ["start", "config", "log", "log"]),
    ],
)
def test_a_tracker_that_fails_ends_no_run_and_is_told_of_once(recorder, tmp_path, capsys, fails, left):
    recorder.fails = fails
    with Trackers(["recorder"], tmp_path, "run", {}) as trackers:
        trackers.log({"loss": 0.5}, 1)
        trackers.log({"loss": 0.25}, 2)
    assert [what for what, *_ in recorder.seen] == left
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"tracker recorder: ConnectionError: no network to {fails}; the run goes on, and log.jsonl has "
        "everything\n"
    )


def test_a_run_that_fails_still_ends_its_trackers(recorder, tmp_path):
    with pytest.raises(ZeroDivisionError), Trackers(["recorder"], tmp_path, "run", {}):
        _ = 1 // 0
    assert recorder.seen[-1] == ("finish",)


@pytest.mark.parametrize(
    ("name", "folder"), [("lora r=2", "lora r=2"), ("../../x/y", "_.._x_y"), ("/etc", "_etc"), ("..", "run")]
)
def test_no_name_leads_out_of_the_folder(tmp_path, name, folder):
    with Trackers(["tensorboard"], tmp_path / "tracked", name, {}) as trackers:
        trackers.log({"loss": 1.0}, 1)
    assert [path.name for path in (tmp_path / "tracked").iterdir()] == [folder]
    assert [path.name for path in tmp_path.iterdir()] == ["tracked"]


@pytest.mark.parametrize("name", sorted(LOGGER_TYPE_TO_CLASS))
def test_every_trackers_class_takes_its_settings(name):
    kind = LOGGER_TYPE_TO_CLASS[name]
    first, settings = _settings(name, "a run", "a project", Path("/some/folder"))
    given = ["/some/folder"] if kind.requires_logging_directory else []
    assert "a run" in repr(vars(kind(first, *given, **settings))) or name == "comet_ml"


def test_flat_refuses_nothing_that_json_knows():
    assert flat({"a": [], "b": {}, "c": [{"d": 1.5}], "e": False}) == {"c/0/d": 1.5, "e": False}


SHARED = """
import sys
from pathlib import Path
from tunescope.training.tracking import Trackers

with Trackers(["tensorboard"], Path(sys.argv[1]), "run", {}) as trackers:
    trackers.log({"loss": 1.0}, 1)
    print(sorted(trackers._open))
"""


def test_only_the_first_of_several_processes_logs(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SHARED, str(tmp_path / str(rank))],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[0].strip() for process in started]
    assert said == ["['tensorboard']", "[]"]
    assert (tmp_path / "0").exists()
    assert not (tmp_path / "1").exists()
