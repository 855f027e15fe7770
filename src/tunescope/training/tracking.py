"""Trackers (TensorBoard, W&B, MLflow, trackio, …) through accelerate's interface, beside `log.jsonl`."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunescope.errors import StudyError, nearest
from tunescope.results.lock import held

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

PACKAGES = {"comet_ml": "comet-ml"}  # of the trackers whose package is not called as they are


class Trackers:
    """The trackers of one run, open while the context is; none by default, and then nothing is imported.

    What a tracker writes on this machine goes below `folder`, as far as it can be told so (W&B and Comet keep
    caches elsewhere; trackio is told once in a process). Where the environment names a server
    (`MLFLOW_TRACKING_URI` and the like), that stands. A tracker that fails is told of once on stderr, and the
    run goes on. Where several processes share a run, the first of them logs.

    Args:
        names: `tensorboard`, `wandb`, `mlflow`, `trackio`, `aim`, `comet_ml`, `clearml`, `dvclive`,
            `swanlab`, or one that was registered with accelerate.
        folder: made where it is missing.
        run_name: what the run is called there.
        config: the run's settings; nested ones become `train/epochs`.
        project: what the runs are gathered under.

    Raises:
        StudyError: an unknown name, or a package that is not installed.
    """

    def __init__(
        self,
        names: Iterable[str],
        folder: Path,
        run_name: str,
        config: Mapping[str, Any],
        *,
        project: str = "tunescope",
    ):
        self._names = tuple(dict.fromkeys(names))
        check_trackers(self._names)
        self._folder, self._project, self._config = folder.absolute(), project, config
        self._run = re.sub(r"[^\w.,=+ -]", "_", run_name).strip(". ") or "run"  # it becomes a folder's name
        self._open: dict[str, GeneralTracker] = {}
        self._told: set[str] = set()
        self._environment: list[str] = []

    def __enter__(self) -> "Trackers":
        if not self._names:
            return self
        from tunescope.training.ranks import Ranks

        if not Ranks().first:
            return self
        self._folder.mkdir(parents=True, exist_ok=True)
        for variable, value in _places(self._folder).items():
            if variable not in os.environ:
                os.environ[variable] = value
                self._environment.append(variable)
        config = flat(self._config)
        # One at a time: the first run of a folder makes data bases and projects that the next ones share.
        with held(self._folder / ".starting", wait=True):
            for name in self._names:
                self._try(name, lambda name=name: self._start(name, config))
        return self

    def __exit__(self, *raised: object) -> None:
        for name, tracker in self._open.items():
            self._try(name, tracker.finish)
        self._open = {}
        for variable in self._environment:
            os.environ.pop(variable, None)
        self._environment = []

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Log the numbers among the values; nested ones become `penalties/entropy_floor`."""
        numbers = {
            name: value
            for name, value in flat(values).items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        if numbers:
            for name, tracker in self._open.items():
                self._try(name, lambda tracker=tracker: tracker.log(numbers, step=step))

    def line(self, said: Mapping[str, Any]) -> None:
        """Log one line of the training log, if it is of a step."""
        if "step" in said:
            self.log({name: value for name, value in said.items() if name != "step"}, said["step"])

    def _start(self, name: str, config: dict[str, Any]) -> None:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        kind = LOGGER_TYPE_TO_CLASS[name]
        first, settings = _settings(name, self._run, self._project, self._folder)
        given = [str(self._folder)] if kind.requires_logging_directory else []
        tracker: Any = kind(first, *given, **settings)
        tracker.start()
        self._open[name] = tracker
        tracker.store_init_configuration(config)

    def _try(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # a network that fails must not end hours of tuning
            if name not in self._told:
                self._told.add(name)
                print(
                    f"tracker {name}: {type(error).__name__}: {error}; the run goes on, and log.jsonl has "
                    "everything",
                    file=sys.stderr,
                )


def check_trackers(names: Iterable[str]) -> None:
    """Look whether every tracker is known and installed; no name imports nothing.

    Raises:
        StudyError: one is not; the nearest name, or the package to install, is named.
    """
    names = tuple(names)
    if not names:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
    from accelerate.utils import LoggerType

    there = {str(kind) for kind in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise StudyError(
                f"engine.trackers: unknown tracker {name!r}; {nearest(name, LOGGER_TYPE_TO_CLASS)}"
            )
        if name not in there and name in LoggerType.list():  # not one that somebody registered
            package = PACKAGES.get(name, name)
            raise StudyError(
                f"engine.trackers: {name!r} needs the package {package!r}, which is not installed; "
                f"`pip install {package}`, or remove it"
            )


def flat(values: Mapping[str, Any], above: str = "") -> dict[str, str | int | float]:
    """Nested settings as one level of numbers and texts, their names joined by `/`.

    >>> flat({"lr": 0.1, "train": {"epochs": 3, "warmup": None}, "seeds": [1, 2]})
    {'lr': 0.1, 'train/epochs': 3, 'train/warmup': 'None', 'seeds/0': 1, 'seeds/1': 2}
    """
    found: dict[str, str | int | float] = {}
    for name, value in values.items():
        if isinstance(value, list | tuple):
            value = {str(i): entry for i, entry in enumerate(value)}
        if isinstance(value, Mapping):
            found |= flat(value, f"{above}{name}/")
        else:
            found[f"{above}{name}"] = value if isinstance(value, str | int | float) else str(value)
    return found


def _settings(name: str, run: str, project: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """The first argument of a tracker's class, by most taken for the project, and its further settings."""
    place = str(folder)
    told: dict[str, tuple[str, dict[str, Any]]] = {
        "tensorboard": (run, {}),
        "aim": (run, {"experiment": project}),
        "wandb": (project, {"name": run, "dir": place}),
        "trackio": (project, {"name": run}),
        "mlflow": (project, {"run_name": run}),
        "clearml": (project, {"task_name": run}),
        "dvclive": (run, {"dir": str(folder / "dvclive" / run), "save_dvc_exp": False, "dvcyaml": None}),
        "swanlab": (project, {"experiment_name": run, "logdir": str(folder / "swanlab")}),
    }
    return told.get(name, (project, {}))


def _places(folder: Path) -> dict[str, str]:
    """Where trackers keep their data that take it from the environment alone."""
    return {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "TRACKIO_DIR": str(folder / "trackio"),
        "COMET_OFFLINE_DIRECTORY": str(folder / "comet"),
        "CLEARML_CACHE_DIR": str(folder / "clearml"),
    }
