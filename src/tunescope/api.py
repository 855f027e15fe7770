"""The Python face: `load`, `tune`, `measure`, `run`, `report`, `compare`."""

import json
import os
import platform
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunescope.engine.events import Tell
from tunescope.engine.execute import execute
from tunescope.engine.options import Options
from tunescope.engine.plan import Planned, plan
from tunescope.report.written import ANSWERS, PAGE, basis, current, sign
from tunescope.results.columns import Columns
from tunescope.results.durable import replace
from tunescope.results.layout import SCHEMA
from tunescope.results.manifest import MANIFEST
from tunescope.results.metric import SKIPPED
from tunescope.results.opened import opened
from tunescope.results.store import Store
from tunescope.results.table import Table
from tunescope.stats.verdict import Answer
from tunescope.study.asked import question_of
from tunescope.study.component import Component
from tunescope.study.question import Correction, Question
from tunescope.study.run import RunSpec
from tunescope.study.study import Study, dump_study, load_study

if TYPE_CHECKING:
    import numpy as np

    from tunescope.engine.work import Tuned
    from tunescope.models.encoder import Encoder
    from tunescope.probes.probe import Measurement


VERSIONS = ("tunescope", "torch", "transformers", "peft", "numpy", "scipy", "statsmodels", "altair")
VERSIONS += ("vl-convert-python",)


@dataclass(frozen=True)
class StudyResult:
    """A study carried out: its runs, and what lies in its folder, read when it is asked for.

    Args:
        study: what was asked.
        runs: every run and where it stands.
        folder: where page, table and answers lie.
    """

    study: Study
    runs: list[Planned]
    folder: Path

    @cached_property
    def table(self) -> Table:
        """All measurements."""
        return Table.read(self.folder)

    @cached_property
    def answers(self) -> list[Answer]:
        """Answers to the study's questions, in their order."""
        documents = json.loads((self.folder / ANSWERS).read_text(encoding="utf-8"))
        return [Answer.from_json(document) for document in documents]

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder / PAGE


def load(name: str | Path, image_size: int | None = None, max_tokens: int | None = None) -> "Encoder":
    """A pretrained encoder: `emoji-clip`, a folder, or a hub id. See `models.load.load`."""
    from tunescope.models.load import load

    return load(name, image_size, max_tokens)


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
        **settings: whatever else a run can say, such as `objective`, `penalties`, `train`, `after`,
            `transfer` or `probes`.

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
    tell: Tell = lambda event: None,
    command: str | None = None,
    **options: Any,
) -> StudyResult:
    """Carry out a study, or what is missing of it, answer its questions and write its page.

    Args:
        study: a study, or the path of its file.
        results: the folder of the store and of the study's own folder.
        tell: called with every `Event`.
        command: what the page names as the way to carry it out again; `tunescope run` and the file's path.
        **options: how, how many, which: `executor`, `workers`, `only`, … as in `engine.options.Options`.

    Raises:
        TunescopeError: something that the study asks for does not fit; nothing has been started.
        Stopped: somebody asked to stop; what was under way is checkpointed.
    """
    asked, usual = _asked(study)
    store = Store(Path(results) / "store")
    planned = plan(asked, store)
    started = time.monotonic()
    execute(asked, planned, store, tell, Options(**options))
    store.compact_if_worth()
    fresh = all(run.state == "missing" for run in planned)
    seconds = time.monotonic() - started if fresh else None
    return _report(asked, store, Path(results), command or usual, seconds)


def report(
    study: Study | str | Path, results: str | Path = "results", command: str | None = None
) -> StudyResult:
    """Write a study's table, answers and page again from what its store holds.

    Args:
        study: a study, or the path of its file.
        results: the folder of the store and of the study's own folder.
        command: as for `run`.
    """
    asked, usual = _asked(study)
    return _report(asked, Store(Path(results) / "store"), Path(results), command or usual, None, again=True)


def compare(
    table: Any,
    questions: "Question | Mapping[str, Any] | str | Sequence[Question | Mapping[str, Any] | str]",
    correction: Correction = "holm",
    drop_nan: bool = False,
    tell: Callable[[str], None] = lambda said: None,
    **columns: Any,
) -> list[Answer]:
    """Answer questions of anybody's table, in the form and with the statistics of a study's own.

    Args:
        table: the path of a CSV, TSV or Parquet file or of a folder that `report` wrote; a `Table`; or a data
            frame that Arrow can read, of pandas, Polars, DuckDB or Arrow.
        questions: as a study file has them: `Question`s, mappings, or YAML such as
            `{metric: accuracy, compare: [lora, full]}`; all are corrected together. `ask` may be missing.
        correction: `holm` or `benjamini_hochberg`.
        drop_nan: leave out runs whose number is not finite; otherwise they are an error in a foreign table.
        tell: called with how a foreign table was understood: what its runs, metrics and factors are.
        **columns: which column says what, as in `results.columns.Columns`: `group="method"`, `seed="seed"`, …

    Raises:
        TunescopeError: the table cannot be read, or cannot answer a question.
    """
    from tunescope.stats.answer import answer
    from tunescope.stats.wording import worded

    several = [questions] if isinstance(questions, Question | Mapping | str) else list(questions)
    asked = [worded(question_of(said, f"question {place}")) for place, said in enumerate(several, 1)]
    return answer(opened(table, Columns.of(columns), asked, drop_nan, tell), asked, correction)


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


def _report(
    study: Study, store: Store, results: Path, command: str, seconds: float | None, again: bool = False
) -> StudyResult:
    """The study's folder as the store now has it; nothing is written where it says that already."""
    result = StudyResult(study, plan(study, store), results / study.study)
    versions = {"python": platform.python_version()} | {name: version(name) for name in VERSIONS}
    runs = [(run.member.name, run.id, run.state, run.cause, _published(store, run)) for run in result.runs]
    made_from = basis(dump_study(study), runs, SCHEMA, versions)
    if again or not current(result.folder, made_from):
        _write(result, store, command, seconds, versions)
        sign(result.folder, made_from)
    return result


def _published(store: Store, run: Planned) -> str:
    """A digest of what the run published: one that was made again may have come to other numbers."""
    found = store.find(run.id)
    return "" if found is None else sha256((found.folder / MANIFEST).read_bytes()).hexdigest()


def _write(
    result: StudyResult, store: Store, command: str, seconds: float | None, versions: dict[str, str]
) -> None:
    from tunescope.report.head_files import write_head_files
    from tunescope.report.page import Made, write
    from tunescope.stats.answer import answer

    study, folder = result.study, result.folder
    table = Table.gather(store, [(run.id, run.member) for run in result.runs], study.study)
    answers = answer(table, study.questions, study.correction)
    folder.mkdir(parents=True, exist_ok=True)
    table.write(folder)
    text = json.dumps([found.to_json() for found in answers], indent=1, ensure_ascii=False)
    replace(folder / ANSWERS, text.encode())
    made = Made(
        versions=versions,
        date=datetime.now(UTC).date().isoformat(),
        machine=f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        command=command,
        store_schema=SCHEMA,
        study_yaml=dump_study(study),
        seconds=seconds,
    )

    def arrays(run: str) -> "dict[str, np.ndarray]":
        return store.read(run).arrays()

    write_head_files(folder, study, table, arrays)
    write(folder, study, table, answers, arrays, made)
