"""The training loop: one encoder, one head, one run's settings."""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tunescope.data.examples import Examples
from tunescope.errors import Diverged, MethodError, Stopped
from tunescope.methods.method import Installed
from tunescope.models.encoder import Encoder
from tunescope.models.seam import watch
from tunescope.objectives.objective import Objective, Penalty
from tunescope.results.row import Row
from tunescope.study.run import RunSpec
from tunescope.training.augment import DRAWS
from tunescope.training.checkpoint import Checkpoint
from tunescope.training.features import Features, batches
from tunescope.training.history import History, Log
from tunescope.training.optimizers import Optimizer
from tunescope.training.order import draws, order, step_seed
from tunescope.training.ranks import Ranks
from tunescope.training.schedule import factor

OnStep = Callable[[int, int], None]  # called with (step, steps) after every optimiser step


class Looked(NamedTuple):
    """What a live monitor saw, and why the tuning should end here, if it should."""

    rows: list[Row]
    stop: str | None = None


@runtime_checkable
class Watcher(Protocol):
    """Looks at the model every so many steps; it is in evaluation mode then."""

    every: int

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
    checkpoint: Checkpoint | None = None,
    monitor: Watcher | None = None,
    reuse: bool = True,
) -> History:
    """Tune what `installed` and the head leave trainable, in place; both end in evaluation mode.

    Each step minimises objective(head(features), labels) + Σ penalties on one batch. The order of the
    examples and every augmentation derive from (seed, epoch, example), and dropout from (seed, step): on a
    CPU, the same call gives the same weights bit for bit, in one go or from any of its checkpoints. The
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
        monitor: looks at the model before the first step and after every `monitor.every` steps.
        reuse: False computes features from the pixels at every step, also where a part of it is the same
            every time: slower, for comparison.

    Raises:
        Diverged: loss or gradient are not finite, and the step that would have written that into the weights
            has not been taken; or the logits of the validation examples are not, after an epoch's last step.
        Stopped: `checkpoint.stopping` said so; the checkpoint has been written.
        MethodError: several processes share the run, and a penalty or the objective couples the examples of a
            batch.
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
        try:
            return run.carry_out(on_step)
        except Diverged as error:
            error.history = run.history  # how it came to that is worth seeing
            raise


class _Loss(nn.Module):
    """Indices of training examples → their loss, as one module whose parameters several processes share."""

    def __init__(self, model: nn.Module, head: nn.Module, features: Features, objective: Objective):
        super().__init__()
        self.model, self.head, self.features, self.objective = model, head, features, objective

    def forward(
        self, indices: NDArray[np.int64], uniform: NDArray[np.float64] | None, labels: Tensor
    ) -> Tensor:
        return self.objective.loss(self.head, self.features.at(indices, uniform), labels)


class _Run:
    """What the steps of one run share."""

    on_log: Log | None = None
    checkpoint: Checkpoint | None = None
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
        self.encoder, self.installed, self.head = encoder, installed, head
        self.spec, self.train, self.val, self.ranks = spec, train, val, ranks
        self.params = {f"encoder.{name}": p for name, p in installed.trainable.items()}
        self.params |= {f"head.{name}": p for name, p in head.named_parameters() if p.requires_grad}
        self.state = self.params | {f"encoder.{name}": value for name, value in installed.buffers.items()}
        self.optimizer = spec.train.optimizer.build(self.params.values(), spec.lr)
        self.history = History()
        self.labels = torch.as_tensor(train.labels, device=encoder.device)
        self._mode(training=False)
        penalties = [penalty for penalty in spec.penalties if isinstance(penalty, Penalty)]
        self.needs_rows = any(penalty.needs_rows for penalty in penalties)
        coupling = [f"penalty {penalty.kind}" for penalty in penalties if penalty.needs_rows]
        coupling += [f"objective {spec.objective.kind}"] if spec.objective.couples else []
        if coupling and ranks.world > 1:
            raise MethodError(
                f"{', '.join(coupling)}: a function of the whole batch, which {ranks.world} processes share; "
                "carry this run out in one process"
            )
        for penalty in penalties:
            if penalty.by_image and spec.train.augment != "none":
                raise MethodError(
                    f"penalty {penalty.kind}: it holds each image to what the base model made of the same "
                    f"image, and train.augment: {spec.train.augment} changes them; use augment: none"
                )
        self.penalties = [(penalty, self._prepared(penalty)) for penalty in penalties]
        shared = {"batch_size": spec.train.batch_size, "autocast": self._autocast, "reuse": reuse}
        augmented = spec.train.augment != "none"
        self.features = Features(
            encoder, installed, train, augmented=augmented, needs_rows=self.needs_rows, **shared
        )
        self.val_features = Features(encoder, installed, val, **shared)
        self.loss = ranks.together(_Loss(encoder.model, head, self.features, spec.objective))

    def _prepared(self, penalty: Penalty) -> Any:
        """What a penalty needs of the base model: with the adapter off, where it looks at attention."""
        off = self.installed.without() if penalty.needs_rows else None
        with off or nullcontext():
            return penalty.prepare(self.encoder, self.installed.tower, self.train)

    def carry_out(self, on_step: OnStep | None) -> History:
        settings, count, ranks = self.spec.train, len(self.train.labels), self.ranks
        an_epoch = math.ceil(count / settings.batch_size)
        steps = settings.epochs * an_epoch
        done, before = 0, 0.0
        if self.checkpoint is not None:
            done, before = self.checkpoint.restore(self.state, self.optimizer, self.history)
        self.started -= before
        if done == 0:
            self._log(self.features.reused | ({"processes": ranks.world} if ranks.world > 1 else {}))
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
                self._look(step)
                if place + 1 == an_epoch or self.history.stopped:
                    self._validate(step, epoch)
                if on_step is not None and ranks.first:
                    on_step(step, steps)
                self._keep(step)
        self._mode(training=False)
        self.optimizer.zero_grad()
        total = sum(p.numel() for p in [*self.encoder.model.parameters(), *self.head.parameters()])
        self.history.rows += [
            Row("training.seconds", time.perf_counter() - self.started),
            Row("training.trainable", sum(p.numel() for p in self.params.values())),
            Row("training.total", total),
        ]
        if settings.converged is not None:
            converged = self.history.converged(settings.converged)
            self.history.rows.append(Row("training.converged", float(converged)))
        return self.history

    def _step(
        self,
        step: int,
        epoch: int,
        lr: float,
        batch: NDArray[np.int64],
        uniform: NDArray[np.float64] | None,
    ) -> None:
        torch.manual_seed(step_seed(self.spec.seed, step, self.ranks.rank))
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        indices, weight = self.ranks.share(batch)
        with self._rows() as seen:
            with self._autocast():
                drawn = None if uniform is None else uniform[indices]
                loss = weight * self.loss(indices, drawn, self.labels[indices])
            parts: dict[str, Tensor] = {}
            for penalty, state in self.penalties:
                value = penalty.value(state, seen, indices)
                parts[penalty.kind] = parts.get(penalty.kind, 0) + value
                loss = loss + value
            self.optimizer.zero_grad()
            loss.backward()
        # An infinite limit leaves the gradients as they are, to the bit, and still gives their norm.
        norm = nn.utils.clip_grad_norm_(self.params.values(), self.spec.train.clip_norm or math.inf)
        if self.ranks.world > 1:  # the loss of the whole batch, and whether any process was asked to stop
            asked = self.checkpoint is not None and self.checkpoint.stopping()
            loss, asked = self.ranks.mean(torch.stack([loss, torch.full_like(loss, asked)]))
            self.asked = bool(asked)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise Diverged(step)
        self.optimizer.step()
        penalties = {kind: part.item() for kind, part in parts.items()}
        self.history.step(step, epoch, loss.item(), lr, norm.item(), penalties)
        self._tell_log()

    def _validate(self, step: int, epoch: int) -> None:
        self._mode(training=False)
        indices, weight = self.ranks.share(np.arange(len(self.val.labels)))
        features = self.val_features.all(indices)
        with torch.no_grad(), self._autocast():
            logits = self.head(features)
        right = logits.argmax(-1) == torch.as_tensor(self.val.labels[indices], device=logits.device)
        counted = right.sum() * (weight > 0)
        found = self.ranks.total(torch.stack([counted, (~torch.isfinite(logits)).sum()]))
        if found[1]:
            raise Diverged(step)
        accuracy = found[0].item() / len(self.val.labels)
        self.history.validated(step, epoch, accuracy, len(self.val.labels))
        self._tell_log()

    def _look(self, step: int) -> None:
        if self.monitor is None or step % self.monitor.every:
            return
        monitor = self.monitor
        self._mode(training=False)
        looked = self.ranks.agree(lambda: monitor.look(step, self.head))
        self.history.rows += looked.rows
        if looked.stop is not None:
            self.history.stopped = looked.stop
            self.history.rows.append(Row("training.stopped", step))
            self._log({"step": step, "stopped": looked.stop})

    def _keep(self, step: int) -> None:
        keep = self.checkpoint
        if keep is None:
            return
        stopping = keep.stopping() if self.ranks.world == 1 else self.asked
        if self.ranks.first and (stopping or keep.due()):
            seconds = time.perf_counter() - self.started
            keep.save(step, self.state, self.optimizer, self.history, seconds)
        if stopping:
            raise Stopped(f"stopped after step {step}")

    def _log(self, line: dict) -> None:
        self.history.log.append(line)
        self._tell_log()

    def _tell_log(self) -> None:
        if self.on_log is not None and self.ranks.first:
            self.on_log(self.history.log[-1])

    def _rows(self):
        if self.needs_rows:
            return watch(self.encoder, self.installed.tower, rows="pool", grad=True)
        return nullcontext()

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
