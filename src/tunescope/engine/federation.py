"""A federated run: its clients, its rounds, and what is seen of them."""

import json
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tunescope.data.examples import Examples
from tunescope.engine.joining import combining_of, per_round
from tunescope.engine.kept import OnDisk
from tunescope.engine.kept_rounds import KeptRounds
from tunescope.engine.monitor import LiveMonitor
from tunescope.engine.round_rows import lines_of_round, rows_of_clients, rows_of_privacy, rows_of_round
from tunescope.engine.runtime import Runtime
from tunescope.engine.together import launched
from tunescope.engine.watching import Watching
from tunescope.errors import Diverged, MethodError, StoreError
from tunescope.federated.client import TuningJob
from tunescope.federated.holdings import Holding
from tunescope.federated.job import Arrays
from tunescope.methods.method import Installed
from tunescope.models.encoder import Encoder
from tunescope.objectives.objective import Objective
from tunescope.probes.kept import InMemory, Make
from tunescope.results.row import Row
from tunescope.results.unfinished import MEASURED, Unfinished
from tunescope.study.federated import Federated
from tunescope.study.run import RunSpec
from tunescope.training.checkpoint import Checkpoint
from tunescope.training.features import Features
from tunescope.training.history import History, Log
from tunescope.training.loop import OnStep
from tunescope.training.ranks import Ranks
from tunescope.training.validation import validate

if TYPE_CHECKING:
    from tunescope.federated.rounds import Round, Turn, Unusable

CLIENTS = "clients"  # below what has been measured: their moments


@dataclass
class Federation:
    """The rounds of one run, in this process.

    Args:
        spec: the run.
        encoder: on which the method was installed.
        installed: the method at work.
        head: before its first step.
        held: what each client holds; empty where they are on machines of their own.
        examples: of the task, by split.
        monitor: looks at the global model before the first round and after each, and at clients where the run
            has them watched.
        on_step: called with (round, rounds).
        on_log: called with every line of the log.
        checkpoint: where the rounds are kept, and found again; and whether to stop.
        runtime: where the clients work.
    """

    spec: RunSpec
    encoder: Encoder
    installed: Installed
    head: nn.Module
    held: Mapping[str, Holding]
    examples: Mapping[str, Examples]
    monitor: LiveMonitor | None = None
    on_step: OnStep | None = None
    on_log: Log | None = None
    checkpoint: Checkpoint | None = None
    runtime: Runtime = field(default_factory=Runtime)

    def __post_init__(self):
        assert self.spec.federated is not None
        self.federated: Federated = self.spec.federated
        self.history = History()

    def carry_out(self) -> tuple[Installed, History]:
        """Carry out the rounds that are not done yet; the model is the global one afterwards.

        Rows of rounds have the round as their `step`.

        Returns:
            the method at work, or the plain model where a strategy has changed base weights; and what
            happened.

        Raises:
            StudyError: Flower is not installed; or nobody's answer of a round could be used.
            Diverged: every client of a round did, or the global model.
            Stopped: `checkpoint.stopping` said so, between two rounds.
        """
        from tunescope.federated import rounds
        from tunescope.federated.stoppable import Stoppable

        if launched():
            raise MethodError("federated: several processes share this run; carry it out in one process")
        started, ranks = time.perf_counter(), Ranks()
        self.encoder.model.to(ranks.device)
        self.head.to(ranks.device)
        unfinished = None if self.checkpoint is None else self.checkpoint.unfinished
        folder = None if unfinished is None else unfinished.folder / MEASURED / CLIENTS
        stopping = (lambda: False) if self.checkpoint is None else self.checkpoint.stopping
        given = (self.encoder, self.installed, self.head, self.held, self.examples)
        self.job = job = TuningJob(self.spec, *given, folder, stopping)
        self.kept = _kept(unfinished)
        reads = Features(
            self.encoder,
            self.installed,
            self.examples["val"],
            batch_size=self.spec.train.batch_size,
            autocast=torch.no_grad,
            reuse=not self.installed.trainable,
        )
        self.watching = Watching(job, self.monitor if self.federated.watch_clients else None)
        seeing = partial(self._see, reads, ranks)
        if self.held:
            self._tell({"clients": {name: len(held.train) for name, held in self.held.items()}})
        self._note(0, partial(seeing, 0, job.initial(), {}))
        keep = None if unfinished is None else KeptRounds(unfinished, self.runtime.threads)
        done = None if keep is None else keep.read()
        if done is None and folder is not None:  # moments of a try whose rounds do not count
            shutil.rmtree(folder, ignore_errors=True)
        last = len(done.values["rounds"]) if done else 0
        for number in range(1, last + 1):
            self._note(number, partial(self._lost, number))
        plan = rounds.Plan(
            rounds=self.federated.rounds,
            clients=tuple(job.clients),
            per_round=per_round(self.federated, len(job.clients)),
            timeout=self.runtime.timeout,
            at_once=self.runtime.at_once,
            patience=self.runtime.patience,
            closing=True,
            config=self.runtime.tells(self.spec),
            norm=self.federated.outlier,
            seed=self.spec.seed,
        )

        def tell(one: "Round", arrays: Arrays, turns: Mapping[str, "Turn"]) -> None:
            self.kept.forget(f"round {one.number}")  # of a try that was killed before the round was kept
            self._note(one.number, partial(seeing, one.number, arrays, turns))
            if self.on_step is not None:
                self.on_step(one.number, self.federated.rounds)

        combining = combining_of(self.spec, job)
        serve = partial(rounds.run, plan=plan, combining=combining, initial=job.initial, keep=keep, tell=tell)
        try:
            outcome = self.runtime.run(job, lambda grid: serve(Stoppable(grid, stopping)))
        except rounds.Unusable as unusable:
            if (error := _diverged(unusable)) is None:
                raise
            error.history = self.history
            raise error from None
        trained = sum(p.numel() for p in job.shared.named().values() if p.requires_grad)
        total = sum(p.numel() for p in [*self.encoder.model.parameters(), *self.head.parameters()])
        installed = job.shared.finish(outcome.arrays)
        for one in outcome.rounds:
            self.history.rows += rows_of_round(one, 4 * total)
            for line in lines_of_round(one):
                self._tell(line)
        self.history.rows += [
            Row("training.seconds", time.perf_counter() - started),
            Row("training.trainable", trained),
            Row("training.total", total),
            Row("training.share", trained / total),
            *rows_of_clients(outcome, self.held),
            *rows_of_privacy(self.federated),
        ]
        for client, cause in outcome.closing.dropped.items():
            self._tell({"closing": client, "because": cause})
        if self.spec.train.converged is not None:
            converged = self.history.converged(self.spec.train.converged)
            self.history.rows.append(Row("training.converged", float(converged)))
        return installed, self.history

    def _note(self, number: int, see: Make) -> None:
        """Take down what global model and clients are like after a round, once, killed in between or not."""
        found = dict(self.kept(f"round {number}", see))
        said = json.loads(bytes(found.pop("said")).decode())
        self.history.rows += [Row(*row) for row in said["rows"]]
        if said["line"]:
            self._tell(said["line"])
        self.history.saw(number, found)

    def _lost(self, number: int) -> NoReturn:
        assert self.checkpoint is not None
        self.checkpoint.unfinished.clear()
        raise StoreError(
            f"what was seen of round {number} has been lost below the store; the next try begins anew"
        )

    def _see(
        self, reads: Features, ranks: Ranks, number: int, arrays: Arrays, turns: Mapping[str, "Turn"]
    ) -> dict[str, NDArray]:
        """What is seen of clients; the global model's validation score, and what a monitor sees of it."""
        rows = self.watching.look(number, turns)
        self.job.put(arrays)
        self.encoder.model.eval()
        self.head.eval()
        line = {}
        looks: dict[str, NDArray] = {}
        if number:
            assert isinstance(self.spec.objective, Objective)
            found = validate(
                self.spec.objective, self.head, reads, self.examples["val"], ranks, torch.no_grad
            )
            if found is None:
                raise Diverged(number)
            rows.append(Row(f"training.{found.name}", found.value, split="val", step=number, n=found.n))
            line = {"step": number, "epoch": number - 1, found.name: found.value}
        if self.monitor is not None:
            looked = self.monitor.look(number, self.head)
            rows += looked.rows
            looks |= looked.arrays
        said = json.dumps({"rows": rows, "line": line}).encode()
        return looks | {"said": np.frombuffer(said, np.uint8)}

    def _tell(self, line: dict) -> None:
        self.history.log.append(line)
        if self.on_log is not None:
            self.on_log(line)


def _diverged(unusable: "Unusable") -> Diverged | None:
    """Whether every client of a round did, wherever it was: its numbers, or what it sent, were not finite."""
    if not all("Diverged: " in cause or "not finite" in cause for cause in unusable.causes.values()):
        return None
    steps = [int(step) for step in re.findall(r"diverged at step (\d+)", str(unusable))]
    return Diverged(max(steps, default=unusable.number))


def _kept(unfinished: Unfinished | None) -> InMemory | OnDisk:
    return InMemory() if unfinished is None else OnDisk(unfinished, "rounds", lambda: unfinished.run_id)
