"""A short calibration: what a run of one shape takes, from a few real steps of it."""

import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from math import ceil
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from tunescope.engine.cost import Costs, Figures
from tunescope.engine.peak import peak
from tunescope.engine.plan import Planned
from tunescope.engine.process import context, ended_by, serve
from tunescope.errors import StudyError, TunescopeError
from tunescope.results.store import Store
from tunescope.study.run import RunSpec

if TYPE_CHECKING:
    from torch import nn

    from tunescope.data.examples import Examples
    from tunescope.federated.holdings import Holding
    from tunescope.methods.method import Installed
    from tunescope.models.encoder import Encoder
    from tunescope.probes.probe import Probe, Subject

FEW, MORE = 2, 6  # batches
ROUNDS = 3  # the first warms up, the last has clients tested
EXAMPLES = 128  # of each set that probes read
LR = 1e-9  # nothing may diverge here, and no step takes longer for being smaller


def calibrate(run: Planned, costs: Costs) -> Figures:
    """Measure what a run of this shape takes, in a process of its own, and keep it.

    The model is loaded, the task laid out and the method installed as in a run. Then a few optimiser steps
    are made at the real batch size, on two sizes of a truncated training set, and the probes look at a
    truncated part of every set; what grows with the number of examples is scaled to all of them. Of a
    federated run, its own clients meet for a few rounds of few steps.

    What is not in it: measurements of the base model, which are made once and shared by all runs; decoding
    images, which is done once for a study; publishing; that workers share caches, memory bandwidth and disk,
    so that two at a time are slower than one; and memory that grows with the number of examples, such as the
    activations that are kept of frozen blocks. A run that collapses or diverges ends sooner. Clients are
    measured in one process, one after the other.

    Args:
        run: any run of the shape.
        costs: where the figures are kept.

    Raises:
        StudyError: the run cannot be carried out; its cause is named.
    """
    made = context(costs.threads)
    here, there = made.Pipe(duplex=False)
    arguments = (run.member.spec, costs.store.root, costs.threads, there)
    process = made.Process(target=_work, args=arguments, daemon=True)
    process.start()
    there.close()
    try:
        found: Figures | str = here.recv()
    except EOFError:
        process.join()
        found = ended_by(process.exitcode or 0)
    finally:
        process.kill()
        process.join()
        here.close()
    if isinstance(found, str):
        raise StudyError(f"{run.member.name}: cannot be calibrated: {found}")
    costs.keep(run, found)
    return found


def _work(spec: RunSpec, root: Path, threads: int, pipe: Connection) -> None:
    serve()
    import torch

    torch.set_num_threads(threads)
    try:
        pipe.send(figures(spec, Store(root)))
    except TunescopeError as error:
        pipe.send(str(error))
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


def figures(spec: RunSpec, store: Store) -> Figures:
    """Measure in this process.

    Args:
        spec: the run; its learning rate and seed do not matter.
        store: where decoded images are shared.
    """
    from tunescope.data.sample import few
    from tunescope.data.task import task_examples
    from tunescope.engine.change import change_of
    from tunescope.engine.images import decoded
    from tunescope.engine.joining import lay_out
    from tunescope.engine.tower import tower_of
    from tunescope.engine.work import head_for, install, measured
    from tunescope.models.load import load
    from tunescope.probes.probe import Subject, probes_of
    from tunescope.training.ranks import Ranks

    started = time.perf_counter()
    encoder = load(spec.model, spec.image_size, spec.max_tokens)
    encoder.model.to(Ranks().device)
    loaded = time.perf_counter()

    def laid_out() -> "tuple[dict[str, Examples], dict[str, Holding]]":
        found = task_examples(spec, encoder.preprocess, decoded(store))
        return found, {} if spec.federated is None else lay_out(spec, encoder, found, decoded(store))

    laid_out()  # decodes what no run has decoded yet
    there = time.perf_counter()
    examples, held = laid_out()
    head = head_for(spec, encoder, examples["train"])
    installed = install(spec, encoder, tower_of(spec, encoder))
    setup = loaded - started + time.perf_counter() - there
    origin = {name: value.detach().clone() for name, value in head.named_parameters()}
    largest = max((one.train for one in held.values()), key=len, default=examples["train"])
    loop = _loop(encoder, installed, head, spec, largest, examples["val"])
    if spec.federated is None:
        tuning = loop.tuning(len(examples["train"]), len(examples["val"]), spec.train.batch_size)
    else:
        installed, tuning = _rounds(encoder, installed, head, spec, held, examples, loop)
    change = change_of(spec, installed)
    subject = Subject(encoder, head, installed.tower, measured(examples), change=change, head_origin=origin)
    measure = sum(_looking(probe, subject) for probe in probes_of(spec))
    look = 0.0
    if spec.train.monitor is not None:
        count = spec.train.monitor.examples
        watched = {split: few(part, count) for split, part in subject.examples.items()}
        look = sum(
            _looking(probe, replace(subject, examples=watched)) for probe in probes_of(spec.train.monitor)
        )
    taken = peak()
    return Figures(
        setup=setup + tuning.once,
        step=tuning.step,
        steps=tuning.steps,
        validate=tuning.validate + tuning.watched * look,
        look=look,
        measure=measure * (1 if installed.without() is None else 2),
        memory=taken["peak_memory"],
        gpu_memory=taken.get("peak_gpu_memory"),
    )


class _Tuning(NamedTuple):
    """Seconds that tuning takes once, at every step, and after every epoch or in every round besides."""

    once: float
    step: float
    steps: float  # in an epoch
    validate: float
    watched: float = 0  # clients at which a monitor looks in a round


class _Loop(NamedTuple):
    """Seconds of the training loop: of the first pass only, before the first step and for each example more
    that there is then, at every step, and after an epoch for each example that is validated.
    """

    warming: float
    ready: float
    seen: int  # examples that were there
    an_example: float
    step: float
    validate: float

    def tuning(self, train: int, val: int, batch_size: int) -> _Tuning:
        """Of a run with so many examples."""
        once = self.ready + self.an_example * (train + val - self.seen) + self.warming
        return _Tuning(once, self.step, train / batch_size, self.validate * val)


def _loop(
    encoder: "Encoder",
    installed: "Installed",
    head: "nn.Module",
    spec: RunSpec,
    train: "Examples",
    val: "Examples",
) -> _Loop:
    """Three short runs of the loop. The first warms up; the third has more examples than the second, and what
    these add to the time before the first step is what every further example adds to it.
    """
    from tunescope.data.sample import few
    from tunescope.training import loop

    # No monitor and no criterion: the one is timed by itself, the other takes no time.
    once = {"monitor": None, "converged": None, "epochs": 1}
    spec = spec.model_copy(update={"lr": LR, "train": spec.train.model_copy(update=once)})
    size = spec.train.batch_size
    some = few(val, max(EXAMPLES, size))

    def run(batches: int) -> tuple[int, dict[str, list[float]]]:
        """How many examples there were, and the seconds before every line of the log, by what it says."""
        part, found = few(train, batches * size), {"ready": [], "step": [], "validate": []}
        last = time.perf_counter()

        def line(said: dict[str, Any]) -> None:
            nonlocal last
            last, before = time.perf_counter(), last
            validated = {"val_acc1", "val_loss"} & said.keys()
            what = "step" if "loss" in said else "validate" if validated else "ready"
            found[what].append(last - before)

        loop.train(encoder, installed, head, spec, part, some, on_log=line)
        return len(part), found

    (_, cold), (fewer, short), (more, long) = run(1), run(FEW), run(MORE)
    step = median(long["step"])
    an_example = max(0.0, long["ready"][0] - short["ready"][0]) / max(1, more - fewer)
    warming = max(0.0, cold["ready"][0] + cold["step"][0] - short["ready"][0] - step)
    validate = long["validate"][0] / len(some)
    return _Loop(warming, long["ready"][0], more + len(some), an_example, step, validate)


def _rounds(
    encoder: "Encoder",
    installed: "Installed",
    head: "nn.Module",
    spec: RunSpec,
    held: "Mapping[str, Holding]",
    examples: "Mapping[str, Examples]",
    loop: _Loop,
) -> tuple["Installed", _Tuning]:
    """A few rounds in which every client has few examples: what a round takes besides its steps, such as
    messages, joining, looking at clients and validation, is the same with all of them.

    Returns:
        the method as the rounds leave it, and the seconds.
    """
    from tunescope.data.sample import few
    from tunescope.engine.federation import Federation
    from tunescope.engine.joining import per_round

    assert spec.federated is not None
    size = spec.train.batch_size
    train = spec.train.model_copy(update={"monitor": None, "converged": None, "epochs": ROUNDS})
    federated = spec.federated.model_copy(update={"rounds": ROUNDS, "local_epochs": 1})
    short = spec.model_copy(update={"lr": LR, "train": train, "federated": federated})
    fewer = {name: one._replace(train=few(one.train, FEW * size)) for name, one in held.items()}
    ends = [time.perf_counter()]
    rounds = Federation(
        short,
        encoder,
        installed,
        head,
        fewer,
        examples,
        on_step=lambda number, of: ends.append(time.perf_counter()),
    )
    installed, _ = rounds.carry_out()
    first, usual, last, after = (b - a for a, b in pairwise([*ends, time.perf_counter()]))
    asked = per_round(spec.federated, len(held)) or len(held)
    share = asked / len(held)

    def steps(of: "Mapping[str, Holding]") -> float:
        """Of a round's clients, each once over its examples."""
        return share * sum(ceil(len(one.train) / size) for one in of.values())

    more = share * sum(len(held[name].train) - len(one.train) for name, one in fewer.items())
    besides = max(0.0, usual - steps(fewer) * loop.step) + more * loop.an_example
    once = loop.warming + max(0.0, first - usual) + max(0.0, last - usual) + after
    watched = asked if spec.federated.watch_clients else 0
    return installed, _Tuning(once, loop.step, steps(held), besides, watched)


def _looking(probe: "Probe", subject: "Subject") -> float:
    """Seconds of one probe on all its examples, from truncated sets: what the second half of them adds to it
    is what every further example adds.
    """
    from tunescope.data.sample import few
    from tunescope.probes.kept import InMemory
    from tunescope.probes.measure import derive, observe

    def look(count: int) -> tuple[float, set[str]]:
        """Seconds, and the splits that were read."""
        started = time.perf_counter()
        part = {split: few(examples, count) for split, examples in subject.examples.items()}
        found = observe([probe], replace(subject, examples=part, kept=InMemory()))
        derive([probe], found, found)
        rows = found[probe.kind].rows
        read = {row.split for row in rows if row.split in part} if rows else set(part)
        return time.perf_counter() - started, read

    seconds, read = look(EXAMPLES)
    sizes = [len(subject.examples[split]) for split in read]
    seen, half = (sum(min(size, most) for size in sizes) for most in (EXAMPLES, EXAMPLES // 2))
    if sum(sizes) > seen:
        an_example = max(0.0, look(EXAMPLES)[0] - look(EXAMPLES // 2)[0]) / (seen - half)
        seconds += an_example * (sum(sizes) - seen)
    return seconds
