"""The training loop: one encoder, one head, one run's settings."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tunescope.data.examples import Examples
from tunescope.errors import Diverged, MethodError, Stopped
from tunescope.methods.lp_ft import LPFT
from tunescope.methods.method import Installed
from tunescope.models.encoder import Encoder
from tunescope.objectives.objective import Objective
from tunescope.results.row import Row
from tunescope.study.run import RunSpec
from tunescope.training.augment import DRAWS
from tunescope.training.checkpoint import Resuming
from tunescope.training.ema import EMA
from tunescope.training.features import Features, batches
from tunescope.training.history import History, Log
from tunescope.training.optimizers import Optimizer
from tunescope.training.order import draws, order
from tunescope.training.penalties import Penalties
from tunescope.training.ranks import Ranks
from tunescope.training.rates import scales
from tunescope.training.schedule import factor
from tunescope.training.steps import Loss, Steps
from tunescope.training.validation import validate

OnStep = Callable[[int, int], None]  # called with (step, steps) after every optimiser step


class Looked(NamedTuple):
    """What a live monitor saw, why the tuning should end here, if it should, and arrays to keep."""

    rows: list[Row]
    stop: str | None = None
    arrays: Mapping[str, NDArray] = {}  # never written to


@runtime_checkable
class Watcher(Protocol):
    """Looks at the model every so many steps; it is in evaluation mode then."""

    @property
    def every(self) -> int | Literal["epoch"]: ...

    def look(self, step: int, head: nn.Module) -> Looked: ...


def train(
    encoder: Encoder,
    installed: Installed,
    head: nn.Module,
    spec: RunSpec,
    train: Examples,
    val: Examples,
    *,
    on_step: OnStep | None = None,
    on_log: Log | None = None,
    checkpoint: Resuming | None = None,
    monitor: Watcher | None = None,
    reuse: bool = True,
) -> History:
    """Tune what `installed` and the head leave trainable, in place; both end in evaluation mode.

    Each step minimises objective(head(features), labels) + Σ penalties on one batch. LP-FT trains its head
    alone before. Where a moving average is asked for, it is what is validated, watched and kept. The order of
    the examples and every augmentation derive from (seed, epoch, example), and dropout from (seed, step): on
    a CPU, the same call gives the same weights bit for bit, in one go or from any of its checkpoints. The
    caller's random numbers are left as they were found.

    Where `torchrun` or `accelerate launch` started several processes, all of them call this with the same
    arguments, and each takes its part of every batch.

    Args:
        encoder: on which the method was installed.
        installed: the method at work.
        head: features "b d" → logits "b classes"; all its parameters that require gradients are trained.
        spec: the run; `lr`, `train`, `objective`, `penalties` and `seed` are read here.
        train: examples to learn from, all of them once per epoch; the last batch may be smaller.
        val: examples whose accuracy is taken after every epoch.
        on_step: called with (step, steps) after every optimiser step, step from 1.
        on_log: called with every line of the log.
        checkpoint: where the run's state is kept, and found again.
        monitor: looks at the model before the first step and after every `monitor.every` steps, or
            epoch.
        reuse: False computes features from the pixels at every step, also where a part of it is the same
            every time: slower, for comparison.

    Raises:
        Diverged: loss or gradient are not finite, and the step that would have written that into the weights
            has not been taken; or the logits of the validation examples are not, after an epoch's last step.
        Stopped: `checkpoint.stopping` said so; the checkpoint has been written, but for LP-FT's first stage.
        MethodError: a penalty does not fit the method or the objective, or either of them several processes;
            the rates or the moving average do not fit the method; or there is nothing to train.
    """
    # Accelerate's device and process group, but not its `Accelerator`: that takes gradient accumulation from
    # the environment and holds one precision per process; a run's result is decided by its spec alone.
    ranks = Ranks()
    encoder.model.to(ranks.device)
    head.to(ranks.device)
    forked = [ranks.device] if ranks.device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked):
        torch.manual_seed(spec.seed)
        run = _Run(encoder, installed, head, spec, train, val, ranks, reuse)
        run.on_log, run.checkpoint, run.monitor = on_log, checkpoint, monitor
        if checkpoint is not None:
            run.stopping = checkpoint.stopping
        try:
            return run.carry_out(on_step)
        except Diverged as error:
            error.history = run.history  # how it came to that is worth seeing
            raise


class _Run:
    """What the steps of one run share."""

    on_log: Log | None = None
    checkpoint: Resuming | None = None
    monitor: Watcher | None = None
    training: bool | None = None
    asked = False  # to stop, in any of the processes that share the run

    def __init__(
        self,
        encoder: Encoder,
        installed: Installed,
        head: nn.Module,
        spec: RunSpec,
        train: Examples,
        val: Examples,
        ranks: Ranks,
        reuse: bool,
    ):
        self.started = time.perf_counter()
        assert isinstance(spec.objective, Objective)
        assert isinstance(spec.train.optimizer, Optimizer)
        self.encoder, self.installed, self.head, self.objective = encoder, installed, head, spec.objective
        self.spec, self.train, self.val, self.ranks = spec, train, val, ranks
        self.params = {f"encoder.{name}": p for name, p in installed.trainable.items()}
        self.params |= {f"head.{name}": p for name, p in head.named_parameters() if p.requires_grad}
        if not self.params:
            raise MethodError(
                f"adapt: {spec.adapt.kind} with objective: {spec.objective.kind} leaves nothing to "
                "train; take a method that trains the encoder, such as full or lora"
            )
        place = scales(self.params, encoder.map, spec)
        self.optimizer = spec.train.optimizer.build(self.params.values(), spec.lr, place.values())
        self.ema = None if spec.train.ema is None else EMA(self.params, spec.train.ema)
        self.state = self.params | {f"encoder.{name}": value for name, value in installed.buffers.items()}
        self.state |= {} if self.ema is None else self.ema.state
        self.an_epoch = math.ceil(len(train.labels) / spec.train.batch_size)  # in steps
        self.history = History()
        self.reuse = reuse
        self.stopping: Callable[[], bool] = lambda: False
        self._mode(training=False)
        self.penalties = Penalties(encoder, installed, spec, train, ranks.world)

    def carry_out(self, on_step: OnStep | None) -> History:
        settings, count, ranks = self.spec.train, len(self.train.labels), self.ranks
        an_epoch = self.an_epoch
        steps = settings.epochs * an_epoch
        done, before = 0, 0.0
        if self.checkpoint is not None:
            done, before = self.checkpoint.restore(self.state, self.optimizer, self.history)
        self.started -= before
        probed = self._probe(self.spec.adapt) if done == 0 and isinstance(self.spec.adapt, LPFT) else {}
        self._make_ready()
        if done == 0:
            if self.ema is not None:
                self.ema.start()
            shared = {"processes": ranks.world} if ranks.world > 1 else {}
            self._log(self.features.reused | shared | probed)
            self._look(0)
        for epoch in range(done // an_epoch, settings.epochs):
            uniform = draws(self.spec.seed, epoch, count, DRAWS) if settings.augment == "crop_flip" else None
            pieces = list(batches(order(self.spec.seed, epoch, count), settings.batch_size))
            for place in range(done % an_epoch if epoch == done // an_epoch else 0, an_epoch):
                if self.history.stopped:
                    break
                step = epoch * an_epoch + place + 1
                lr = self.spec.lr * factor(step - 1, steps, settings.schedule, settings.warmup)
                self._mode(training=True)
                self._step(step, epoch, lr, pieces[place], uniform)
                self.installed.after_step(step, steps)
                if self.ema is not None:
                    self.ema.update(step)
                self._look(step)
                if place + 1 == an_epoch or self.history.stopped:
                    self._validate(step, epoch)
                if on_step is not None and ranks.first:
                    on_step(step, steps)
                self._keep(step)
        if self.ema is not None:
            self.ema.keep()
        self._mode(training=False)
        self.optimizer.zero_grad()
        total = sum(p.numel() for p in [*self.encoder.model.parameters(), *self.head.parameters()])
        trained = sum(p.numel() for p in self.params.values())
        self.history.rows += [
            Row("training.seconds", time.perf_counter() - self.started),
            Row("training.trainable", trained),
            Row("training.total", total),
            Row("training.share", trained / total),
        ]
        if settings.converged is not None:
            converged = self.history.converged(settings.converged)
            self.history.rows.append(Row("training.converged", float(converged)))
        return self.history

    def _make_ready(self) -> None:
        """What the steps need, once it is known where they begin."""
        train = self.spec.train
        shared = {"batch_size": train.batch_size, "autocast": self._autocast, "reuse": self.reuse}
        augmented, every_block = train.augment != "none", self.penalties.every_block
        self.features = Features(
            self.encoder, self.installed, self.train, augmented=augmented, every_block=every_block, **shared
        )
        self.val_features = Features(self.encoder, self.installed, self.val, **shared)
        self.steps = Steps(
            self.spec,
            Loss(self.encoder.model, self.head, self.features, self.objective),
            self.params,
            self.optimizer,
            self.penalties,
            torch.as_tensor(self.train.labels, device=self.encoder.device),
            self.ranks,
            self._autocast,
        )

    def _probe(self, adapt: LPFT) -> dict[str, Any]:
        """Train the head alone, and say how that went."""
        frozen = Installed(self.encoder, self.installed.tower, {})
        spec, given = adapt.probe(self.spec), (self.train, self.val, self.ranks, self.reuse)
        stage = _Run(self.encoder, frozen, self.head, spec, *given)
        stage.stopping = self.stopping
        try:
            history = stage.carry_out(None)
        except (Diverged, Stopped) as error:
            error.args = (f"{error} of LP-FT's linear probe",)
            raise
        finally:
            for parameter in self.installed.trainable.values():
                parameter.requires_grad_(True)
        reached = [row for row in history.rows if row.split == "val"][-1]
        name = reached.metric.replace("training.", "training.probe_")
        self.history.rows.append(reached._replace(metric=name, step=None))
        first, *_, before, last = history.log  # what is computed once, the last step, and how it did
        return {"probe": first | before | last | {"epochs": adapt.epochs, "lr": adapt.lr}}

    def _step(
        self,
        step: int,
        epoch: int,
        lr: float,
        batch: NDArray[np.int64],
        uniform: NDArray[np.float64] | None,
    ) -> None:
        taken = self.steps.take(step, lr, batch, uniform, self.ranks.world > 1 and self.stopping())
        self.asked = taken.asked
        if taken.memory is not None:
            self.history.rows.append(Row("training.memory", taken.memory))
        self.history.step(step, epoch, taken.loss, lr, taken.norm, taken.penalties)
        self._tell_log()

    def _validate(self, step: int, epoch: int) -> None:
        with self._averaged():
            self._mode(training=False)
            given = (self.val_features, self.val, self.ranks, self._autocast)
            found = validate(self.objective, self.head, *given)
        if found is None:
            raise Diverged(step)
        self.history.validated(step, epoch, found)
        self._tell_log()

    def _look(self, step: int) -> None:
        monitor = self.monitor
        if monitor is None or step % (self.an_epoch if monitor.every == "epoch" else monitor.every):
            return
        with self._averaged():
            self._mode(training=False)
            looked = self.ranks.agree(lambda: monitor.look(step, self.head))
        self.history.rows += looked.rows
        self.history.saw(step, looked.arrays)
        if looked.stop is not None:
            self.history.stopped = looked.stop
            self.history.rows.append(Row("training.stopped", step))
            self._log({"step": step, "stopped": looked.stop})

    def _keep(self, step: int) -> None:
        stopping = self.stopping() if self.ranks.world == 1 else self.asked
        if stopping:
            self.ranks.agree(lambda: self._save(step))  # nobody goes on before it is written
            raise Stopped(f"stopped after step {step}")
        if self.ranks.first and self.checkpoint is not None and self.checkpoint.due():
            self._save(step)

    def _save(self, step: int) -> None:
        if self.checkpoint is not None:
            seconds = time.perf_counter() - self.started
            self.checkpoint.save(step, self.state, self.optimizer, self.history, seconds)

    def _log(self, line: dict) -> None:
        self.history.log.append(line)
        self._tell_log()

    def _tell_log(self) -> None:
        if self.on_log is not None and self.ranks.first:
            self.on_log(self.history.log[-1])

    def _averaged(self) -> AbstractContextManager[None]:
        return nullcontext() if self.ema is None else self.ema.used()

    def _autocast(self):
        enabled = self.spec.train.precision == "bfloat16"
        return torch.autocast(self.encoder.device.type, torch.bfloat16, enabled=enabled)

    def _mode(self, training: bool) -> None:
        if training == self.training:
            return
        self.training = training
        # A frozen encoder stays in evaluation mode: dropout in it would only blur its features.
        self.encoder.model.train(training and bool(self.installed.trainable))
        self.head.train(training)
