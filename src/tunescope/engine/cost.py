"""What a run will cost, from what a calibration of runs like it has found. No torch."""

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from heapq import heapify, heapreplace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tunescope.engine.plan import Planned, fingerprints
from tunescope.engine.process import cores
from tunescope.results.durable import replace
from tunescope.results.layout import make
from tunescope.results.store import Store
from tunescope.results.writing import writing
from tunescope.study.identity import canonical
from tunescope.study.run import RunSpec
from tunescope.training.soup import Soup

FOLDER = "calibration"  # below the store
FREE = ("epochs", "schedule", "warmup", "clip_norm", "converged")  # of `train`: no cost, or a known one
FREE_ROUNDS = ("rounds", "local_epochs", "outlier")  # of `federated`


@dataclass(frozen=True)
class Cost:
    """What one run is expected to take.

    Args:
        seconds: from load to publish, on a machine that has nothing else to do.
        memory: most bytes that its process holds at once.
        gpu_memory: most bytes that it holds on the graphics processor; None where it uses none.
    """

    seconds: float
    memory: int
    gpu_memory: int | None = None


@dataclass(frozen=True)
class Figures:
    """What a calibration found of one shape of run: seconds by part, bytes at the worst moment.

    Args:
        setup: to load, lay out the task, install, and compute what is computed once.
        step: of one optimiser step.
        steps: in an epoch, of all clients that take part in a round of a federated run.
        validate: after an epoch; of a federated run, what a round takes besides its steps.
        look: of a live monitor, once; 0 without one.
        measure: of the probes on the tuned model.
        memory: peak of the process.
        gpu_memory: peak on the graphics processor; None where there is none.

    >>> from tunescope.study.run import RunSpec
    >>> said = {"model": "m", "task": {"data": "d"}, "adapt": "full", "lr": 1e-3, "train": {"epochs": 2}}
    >>> Figures(3.0, 0.5, 10, 1.0, 0.0, 2.0, 10**9).cost(RunSpec.parse(said, "doc")).seconds
    17.0
    """

    setup: float
    step: float
    steps: float
    validate: float
    look: float
    measure: float
    memory: int
    gpu_memory: int | None = None

    def cost(self, spec: RunSpec) -> Cost:
        """What a run of this shape takes; a soup, where none of its ingredients are there yet."""
        train, federated = spec.train, spec.federated
        ends = train.epochs if federated is None else federated.rounds  # when it is validated
        looks = 0
        if train.monitor is not None:
            every = train.monitor.every
            looks = 1 + (ends if every == "epoch" else train.epochs * self.steps // every)
        tuning = train.epochs * self.steps * self.step + ends * self.validate
        seconds = self.setup + tuning + looks * self.look + self.measure
        if isinstance(spec.after, Soup):
            seconds = len(spec.after.ingredients(spec)) * seconds + self.setup + self.measure
        return Cost(seconds, self.memory, self.gpu_memory)


class Costs:
    """What is known of the cost of one study's runs, kept below a store's folder.

    Runs are of one shape where they differ in nothing but learning rate, seed, number of epochs or rounds,
    schedule, and the settings of their penalties. Figures hold for the machine and the number of threads that
    they were measured with; on another they are not known.

    Args:
        store: the store.
        threads: cores of each run.
    """

    def __init__(self, store: Store, threads: int):
        self.store, self.threads = store, threads
        self.where = machine(threads)
        self._prints: dict[str, str] = {}
        self._keys: dict[tuple, str] = {}
        self._figures: dict[str, Figures | None] = {}

    def of(self, run: Planned) -> Cost | None:
        """What the run will take; None where no run of its shape has been calibrated here."""
        key = self._key(run)
        if key not in self._figures:
            self._figures[key] = self._read(key)
        figures = self._figures[key]
        return None if figures is None else figures.cost(run.member.spec)

    def unknown(self, runs: Iterable[Planned]) -> list[Planned]:
        """The first run of each shape that is not known."""
        return list({self._key(run): run for run in reversed(list(runs)) if self.of(run) is None}.values())[
            ::-1
        ]

    def keep(self, run: Planned, figures: Figures) -> None:
        """Keep what was found of a run's shape.

        Raises:
            StoreError: it cannot be written.
        """
        key = self._key(run)
        document = {"where": self.where, "shape": self._shape(run.member.spec), "figures": asdict(figures)}
        with writing(self.store.root, "keep what a run costs"):
            make(self.store.root, FOLDER)
            replace(self._path(key), json.dumps(document, indent=1, sort_keys=True).encode())
        self._figures[key] = figures

    def _key(self, run: Planned) -> str:
        """A digest of shape and machine.

        All that varies within a group are its factors: it is made once for each choice of them but learning
        rate and seed, and not for each of thousands of runs.
        """
        free = ("lr", "seed")
        varied = tuple((name, value) for name, value in run.member.factors.items() if name not in free)
        alike = (run.member.group, varied)
        if alike not in self._keys:
            said = {"where": self.where, "shape": self._shape(run.member.spec)}
            self._keys[alike] = hashlib.sha256(canonical(said).encode()).hexdigest()[:16]
        return self._keys[alike]

    def _shape(self, spec: RunSpec) -> dict[str, Any]:
        self._prints |= fingerprints(spec, known=self._prints)
        return shape(spec, self._prints)

    def _path(self, key: str) -> Path:
        return self.store.root / FOLDER / f"{key}.json"

    def _read(self, key: str) -> Figures | None:
        try:
            document = json.loads(self._path(key).read_text(encoding="utf-8"))
            return Figures(**document["figures"]) if document["where"] == self.where else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def shape(spec: RunSpec, prints: dict[str, str]) -> dict[str, Any]:
    """Everything of a run's spec that decides what a step, an epoch and a measurement of it cost.

    Args:
        spec: the run.
        prints: what the model and every data reference hold, by reference.
    """
    said = spec.model_dump(mode="json", exclude={"lr", "seed"})
    said["model"] = prints[spec.model]
    said["data"] = {ref: prints[ref] for ref in spec.data_references()}
    said["penalties"] = sorted(penalty["kind"] for penalty in said["penalties"])
    said["train"] = {name: value for name, value in said["train"].items() if name not in FREE}
    if spec.federated is not None:
        said["federated"] = {n: value for n, value in said["federated"].items() if n not in FREE_ROUNDS}
    return said


def machine(threads: int) -> dict[str, Any]:
    """What a cost depends on beside the run: the machine, and what computes on it."""
    return {
        "cores": cores(),
        "threads": threads,
        "processor": _processor(),
        "device": _device(),
        "torch": version("torch"),
        "tunescope": version("tunescope"),
    }


def together(costs: Sequence[Cost], workers: int) -> float:
    """Seconds until the last of the runs is done, where each begins as soon as a worker is free.

    >>> together([Cost(4, 0), Cost(2, 0), Cost(1, 0), Cost(3, 0)], workers=2)
    6.0
    """
    free = [0.0] * workers
    heapify(free)
    for cost in costs:
        heapreplace(free, free[0] + cost.seconds)
    return max(free)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _device() -> str:
    """The graphics processors that this process may use, as the driver names them; else `cpu`.

    Asked of the driver's files: torch would take a second to say the same.
    """
    found = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = path.read_text(encoding="utf-8").splitlines()
        found += [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model:")]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not found or visible in ("", "-1"):
        return "cpu"
    return ", ".join(found) + (f" ({visible})" if visible else "")
