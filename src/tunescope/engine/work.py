"""One run, from its spec to its folder: load, tune, measure, publish."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from tunescope.data.examples import Examples
from tunescope.data.task import task_examples
from tunescope.engine.after import Fetch, averaged, edited, in_memory, with_ingredients
from tunescope.engine.base import observe_base, write_arrays
from tunescope.engine.change import change_of
from tunescope.engine.federation import Federation
from tunescope.engine.images import decoded
from tunescope.engine.job import Job
from tunescope.engine.joining import lay_out, per_round
from tunescope.engine.kept import OnDisk, fingerprint
from tunescope.engine.monitor import LiveMonitor
from tunescope.engine.peak import peak
from tunescope.engine.plan import Planned
from tunescope.engine.runtime import Runtime, runtime_of
from tunescope.engine.together import announce, launched
from tunescope.engine.tower import tower_of
from tunescope.errors import Diverged, MethodError, Stopped
from tunescope.methods.method import Installed, Method
from tunescope.models.encoder import Encoder
from tunescope.models.load import load
from tunescope.objectives.objective import Objective
from tunescope.probes.kept import InMemory, Kept, Progress, silent
from tunescope.probes.measure import Observed, derive, observe
from tunescope.probes.probe import Measurement, Subject, probes_of
from tunescope.results.metric import SKIPPED
from tunescope.results.row import Row, write_rows
from tunescope.results.store import Store
from tunescope.results.unfinished import Unfinished
from tunescope.study.engine import Engine
from tunescope.study.run import RunSpec
from tunescope.training.after import Edit
from tunescope.training.checkpoint import Checkpoint
from tunescope.training.history import History, Log
from tunescope.training.loop import OnStep, train
from tunescope.training.ranks import Ranks
from tunescope.training.soup import Soup
from tunescope.training.tracking import Trackers

TRACKED = "tracked"  # beside the store
ALONE = Engine()  # what a run has that no study asks for
OWN = ("val", "probe", "test")  # with train, the sides of the task's own data


@dataclass
class Tuned:
    """A tuned model with everything needed to measure, save or use it.

    Args:
        spec: the run that made it.
        encoder: the tuned encoder, adapters active.
        head: the trained head on the encoder's features; its classes are `examples["train"].class_names`.
        installed: the method at work on the encoder: `installed.merge()` folds adapters in.
        history: losses, rates and validation accuracy by step.
        examples: by split, as the task laid them out.
        before: what the run's probes saw in the base model.
        head_origin: the head's parameters before its first step, by name.
    """

    spec: RunSpec
    encoder: Encoder
    head: nn.Module
    installed: Installed
    history: History
    examples: dict[str, Examples]
    before: Observed
    head_origin: dict[str, torch.Tensor]

    def weights(self) -> dict[str, torch.Tensor]:
        """What was trained, by name: `encoder.…` below the model, `head.…` below the head."""
        state = {f"encoder.{name}": value for name, value in self.installed.state_dict().items()}
        return state | {f"head.{name}": value.detach() for name, value in self.head.state_dict().items()}


def tune(
    spec: RunSpec,
    on_step: OnStep | None = None,
    store: Store | None = None,
    *,
    on_log: Log | None = None,
    checkpoint: Checkpoint | None = None,
    fetch: Fetch | None = None,
    progress: Progress = silent,
    engine: Engine = ALONE,
    runtime: Runtime | None = None,
) -> Tuned:
    """Carry out the tuning of one run, and what follows it; the base model is probed on the way.

    Args:
        spec: the run.
        on_step: called after every optimiser step.
        store: where measurements of base models, and decoded images, are shared.
        on_log: called with every line of the log.
        checkpoint: where the run's state is kept, and found again.
        fetch: where the ingredients of a soup come from; without one they are tuned here and kept nowhere.
        progress: told how far the measurement of the base model has come.
        engine: how a federated run is carried out.
        runtime: where its clients work, in the place of what `engine` says.

    Raises:
        TunescopeError: the model, the data or the method do not fit.
        Diverged: the loss stopped being finite.
        Stopped: `checkpoint.stopping` said so.
    """
    ranks = Ranks()
    encoder = load(spec.model, spec.image_size, spec.max_tokens)
    tower = tower_of(spec, encoder)
    encoder.model.to(ranks.device)  # base and tuned model are measured on one device
    images = None if store is None else decoded(store)
    examples = task_examples(spec, encoder.preprocess, images)
    others = measured(examples)
    # Where several processes share the run, the first one looks and the others only help with the steps.
    base = partial(Subject, encoder, None, tower, others, progress=progress)
    before = observe_base(spec, base(), store) if ranks.first else {}
    watching = spec.train.monitor
    monitor = None if watching is None else LiveMonitor(watching, encoder, tower, others)
    head = head_for(spec, encoder, examples["train"])
    origin = {name: value.detach().clone() for name, value in head.named_parameters()}
    installed = install(spec, encoder, tower)
    if monitor is not None:
        monitor.change = change_of(spec, installed)
    after, val = spec.after, examples["val"]
    if isinstance(after, Soup):
        here = partial(in_memory, lambda run: tune(run, on_step, engine=engine, runtime=runtime).weights())
        again = partial(_installed_again, spec, tower, ranks.device)
        installed, history = averaged(after, fetch or here, installed, again, head, spec, val, on_log)
        return Tuned(spec, installed.encoder, head, installed, history, examples, before, origin)
    if spec.federated is not None:
        apart = runtime is not None and runtime.apart
        held = lay_out(spec, encoder, examples, images, only=() if apart else None)
        where = runtime or runtime_of(engine, per_round(spec.federated, len(held)) or len(held), images)
        where = replace(where, timeout=engine.client_timeout)
        told = (monitor, on_step, on_log, checkpoint, where)
        rounds = Federation(spec, encoder, installed, head, held, examples, *told)
        installed, history = rounds.carry_out()
        return Tuned(spec, encoder, head, installed, history, examples, before, origin)
    begun = after.begin(installed, head) if isinstance(after, Edit) else None
    history = train(
        encoder,
        installed,
        head,
        spec,
        examples["train"],
        val,
        on_step=on_step,
        on_log=on_log,
        checkpoint=checkpoint,
        monitor=monitor,
    )
    if isinstance(after, Edit):
        installed = edited(after, begun, installed, head, spec, val, history, on_log)
    return Tuned(spec, encoder, head, installed, history, examples, before, origin)


def measure(tuned: Tuned, unfinished: Unfinished | None = None, progress: Progress = silent) -> Measurement:
    """Measure a tuned model as it would be used, adapters active, beside its base.

    Args:
        tuned: the model.
        unfinished: of its run, where what has been measured is kept and found again; None keeps nothing.
        progress: told how far a long measurement has come.
    """
    probes = probes_of(tuned.spec)

    def kept(which: str) -> Kept:
        model = partial(fingerprint, tuned.weights())
        return InMemory() if unfinished is None else OnDisk(unfinished, which, model)

    others = measured(tuned.examples)
    subject = Subject(tuned.encoder, tuned.head, tuned.installed.tower, others, progress=progress)
    change = change_of(tuned.spec, tuned.installed)
    active = observe(
        probes, replace(subject, change=change, kept=kept("active"), head_origin=tuned.head_origin)
    )
    off = tuned.installed.without()
    base_only = None
    if off is not None:
        with off:
            base_only = observe(probes, replace(subject, kept=kept("base_only")))
    return derive(probes, tuned.before, active, base_only)


def carry_out(
    job: Job,
    store: Store,
    on_step: OnStep | None = None,
    stopping: Callable[[], bool] = lambda: False,
    progress: Progress = silent,
    runtime: Runtime | None = None,
) -> dict[str, Any]:
    """Carry out one run and publish it, from its last checkpoint if it has one.

    A run that diverges would diverge again, so it is published as failed. Whatever else goes wrong is
    raised, and nothing is published.

    Returns:
        the outcome: `{"status": "done", …}` or `{"status": "failed", "cause": …, …}`, with the seconds and
        the peak memory in bytes that this try took.

    Raises:
        Stopped: `stopping` said so while the run was tuned, or a part of its soup, which is checkpointed; or
            while it was measured, of which what is done is kept.
    """
    planned, started = job.run, time.perf_counter()
    spec, unfinished = planned.member.spec, store.unfinished(planned.id)
    checkpoint = Checkpoint(unfinished, job.engine.checkpoint, stopping)

    def measuring(what: str, done: int, total: int) -> None:
        progress(what, done, total)
        if stopping() and not launched():  # else the other processes would wait for this one
            raise Stopped(f"stopped while measuring {what}, {done} of {total}")

    fetch = with_ingredients(job, store, carry_out, on_step, stopping)
    said = spec.model_dump(mode="json")
    if launched():
        announce((spec, planned.id))
    folder = store.root.parent / TRACKED
    with Trackers(job.engine.trackers, folder, f"{planned.member.name} {planned.id[:8]}", said) as trackers:
        try:
            given = {"on_log": trackers.line, "checkpoint": checkpoint, "fetch": fetch}
            given |= {"engine": job.engine, "runtime": runtime}
            tuned = tune(spec, on_step, store, **given, progress=measuring)
        except Diverged as error:
            outcome = {"status": "failed", "cause": str(error)} | _cost(started)
            until: History = error.history
            store.publish(planned.id, lambda folder: _write(folder, planned, outcome, until.rows, until.log))
            return outcome
    result = measure(tuned, unfinished, measuring)
    outcome = {"status": "done"} | _cost(started)
    if tuned.history.stopped:
        outcome["stopped"] = tuned.history.stopped

    def write(folder: Path) -> None:
        save_file(
            {k: v.contiguous().cpu() for k, v in tuned.weights().items()}, folder / "weights.safetensors"
        )
        seen = replace(result, arrays=result.arrays | tuned.history.arrays())
        write_arrays(folder / "arrays.safetensors", seen)
        rows = [*tuned.history.rows, *result.rows, *_skipped(tuned.examples)]
        _write(folder, planned, outcome, rows, tuned.history.log)

    store.publish(planned.id, write)
    return outcome


def install(spec: RunSpec, encoder: Encoder, tower: str) -> Installed:
    """Install the run's method on a tower, its random initialisation drawn from the run's seed."""
    assert isinstance(spec.adapt, Method)
    torch.manual_seed(spec.seed)
    return spec.adapt.install(encoder, tower)


def _installed_again(spec: RunSpec, tower: str, device: torch.device) -> Installed:
    encoder = load(spec.model, spec.image_size, spec.max_tokens)
    encoder.model.to(device)
    return install(spec, encoder, tower)


def head_for(spec: RunSpec, encoder: Encoder, train: Examples) -> nn.Module:
    """The head that the run's objective trains, before its first step.

    Raises:
        MethodError: an objective, or what counts as converged, is for classes and the labels are numbers, or
            the other way round.
    """
    assert isinstance(spec.objective, Objective)
    labels = f"the labels of {spec.task.data!r} are {'numbers' if train.regression else 'classes'}"
    if spec.objective.regression != train.regression:
        fix = "squared_error" if train.regression else "cross_entropy"
        raise MethodError(f"objective {spec.objective.kind}: {labels}; use {fix}")
    own, other = ("val_loss", "val_acc1") if train.regression else ("val_acc1", "val_loss")
    if spec.train.converged is not None and spec.train.converged.metric == other:
        raise MethodError(f"train.converged: {other} is not measured, because {labels}; use {own}")
    return spec.objective.build_head(encoder, train.class_names, train.templates)


def measured(examples: dict[str, Examples]) -> dict[str, Examples]:
    """The splits that probes may read: all but the training examples."""
    return {split: part for split, part in examples.items() if split != "train"}


def _skipped(examples: dict[str, Examples]) -> list[Row]:
    """What was left out of each set; the four sides of the task's own set name the same images, told once."""
    sets = {None if name == "train" else name: part for name, part in examples.items() if name not in OWN}
    return [Row(SKIPPED.name, len(part.skipped), split=name) for name, part in sets.items() if part.skipped]


def _cost(started: float) -> dict[str, Any]:
    """What the try has taken so far."""
    return {"seconds": time.perf_counter() - started} | peak()


def _write(folder: Path, planned: Planned, outcome: dict[str, Any], rows: list[Row], log: list[dict]) -> None:
    write_rows(folder / "rows.parquet", planned.id, rows)
    spec = planned.member.spec.model_dump(mode="json")
    (folder / "spec.json").write_text(json.dumps(spec, indent=1, sort_keys=True), encoding="utf-8")
    (folder / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log), encoding="utf-8")
