"""The Python face: `load`, `tune`, `measure`, `run`."""

import json
import os
import platform
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunescope.engine.events import Tell
from tunescope.engine.execute import Executor, execute
from tunescope.engine.plan import Planned, plan
from tunescope.report.page import Made, write
from tunescope.results.durable import replace
from tunescope.results.layout import SCHEMA
from tunescope.results.metric import SKIPPED
from tunescope.results.store import Store
from tunescope.results.table import Table
from tunescope.stats.answer import Answer, answer
from tunescope.study.component import Component
from tunescope.study.run import RunSpec
from tunescope.study.study import Study, dump_study, load_study

if TYPE_CHECKING:
    from tunescope.engine.work import Tuned
    from tunescope.models.encoder import Encoder
    from tunescope.probes.probe import Measurement


@dataclass(frozen=True)
class StudyResult:
    """A study carried out: its runs, the one table, the answers and the page.

    Args:
        study: what was asked.
        runs: every run and where it stands.
        table: all measurements.
        answers: to the study's questions, in their order.
        report: the page.
        folder: where page, table and answers lie.
    """

    study: Study
    runs: list[Planned]
    table: Table
    answers: list[Answer]
    report: Path
    folder: Path


def load(name: str | Path) -> "Encoder":
    """A pretrained encoder: `emoji-clip`, a folder, or a hub id. See `models.load.load`."""
    from tunescope.models.load import load

    return load(name)


def tune(
    model: str,
    data: str,
    adapt: str | Mapping[str, Any] | Component = "full",
    lr: float = 1e-4,
    seed: int = 0,
    label: str | None = None,
    **settings: Any,
) -> "Tuned":
    """Tune a model once, without a study file.

    Args:
        model: `emoji-clip`, a folder, or a hub id.
        data: a data reference, such as `emoji/openmoji` or `folder:photos`.
        adapt: the way of tuning: a name, its settings, or the component itself.
        lr: peak learning rate.
        seed: of the order of examples and of every random initialisation.
        label: which label of the data is learnt, where it has several.
        **settings: whatever else a run can say: `objective`, `penalties`, `train`, `transfer`, `probes`.

    Raises:
        TunescopeError: something does not fit.
        Diverged: the loss stopped being finite.
    """
    from tunescope.engine import work

    said = {"model": model, "task": {"data": data, "label": label}, "adapt": adapt, "lr": lr, "seed": seed}
    return work.tune(RunSpec.parse(said | {"probes": ["attention", "transfer"]} | settings, "tune"))


def measure(tuned: "Tuned") -> "Measurement":
    """Everything that a tuned model's probes see, beside its base. See `engine.work.measure`."""
    from tunescope.engine import work

    return work.measure(tuned)


def run(
    study: Study | str | Path,
    results: str | Path = "results",
    executor: Executor = "process",
    workers: int | None = None,
    tell: Tell = lambda event: None,
) -> StudyResult:
    """Carry out a study, or what is missing of it, answer its questions and write its page.

    Args:
        study: a study, or the path of its file.
        results: the folder of the store and of the study's own folder.
        executor: `process` or `serial`.
        workers: processes at a time.
        tell: called with every `Event`.

    Raises:
        TunescopeError: something that the study asks for does not fit; nothing has been started.
    """
    asked, command = _asked(study)
    store = Store(Path(results) / "store")
    fresh = all(run.state == "missing" for run in plan(asked, store))
    started = time.monotonic()
    execute(asked, store, tell, executor, workers)
    return _report(asked, store, Path(results), command, time.monotonic() - started if fresh else None)


def report(study: Study | str | Path, results: str | Path = "results") -> StudyResult:
    """Write a study's table, answers and page again from what its store holds."""
    asked, command = _asked(study)
    return _report(asked, Store(Path(results) / "store"), Path(results), command, None)


def skipped(table: Table) -> list[tuple[str | None, int]]:
    """How many broken images `on_error: skip` left out, by set; None is the task's own."""
    found = table.sql(
        f"select split, max(value) as n from rows where metric = '{SKIPPED.name}' group by split"
    )
    return [(row["split"], int(row["n"])) for row in found.to_pylist()]


def _asked(study: Study | str | Path) -> tuple[Study, str]:
    """The study, and the command that carries it out."""
    if isinstance(study, Study):
        return study, f"tunescope run {study.study}.yaml"
    return load_study(study), f"tunescope run {shlex.quote(str(study))}"


def _report(study: Study, store: Store, results: Path, command: str, seconds: float | None) -> StudyResult:
    runs = plan(study, store)
    table = Table.gather(store, [(run.id, run.member) for run in runs], study.study)
    answers = answer(table, study.questions)
    folder = results / study.study
    folder.mkdir(parents=True, exist_ok=True)
    table.write(folder)
    text = json.dumps([found.to_json() for found in answers], indent=1, ensure_ascii=False)
    replace(folder / "answers.json", text.encode())
    arrays = {run.id: store.read(run.id).arrays() for run in runs if run.state == "done"}
    packages = ("tunescope", "torch", "transformers", "peft")
    made = Made(
        versions={"python": platform.python_version()} | {name: version(name) for name in packages},
        date=datetime.now(UTC).date().isoformat(),
        machine=f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        command=command,
        store_schema=SCHEMA,
        study_yaml=dump_study(study),
        seconds=seconds,
    )
    page = write(folder, study, table, answers, arrays, made)
    return StudyResult(study, runs, table, answers, page, folder)
