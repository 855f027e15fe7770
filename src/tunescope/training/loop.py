"""The training loop: one encoder, one head, one run's settings."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch import Tensor, nn

from tunescope.data.examples import Examples
from tunescope.errors import Diverged
from tunescope.methods.method import Installed
from tunescope.models.encoder import Encoder
from tunescope.models.seam import watch
from tunescope.objectives.objective import Objective, Penalty
from tunescope.results.row import Row
from tunescope.study.run import RunSpec
from tunescope.training.augment import DRAWS, crop_flip
from tunescope.training.optimizers import Optimizer
from tunescope.training.order import draws, order
from tunescope.training.schedule import factor

OnStep = Callable[[int, int], None]  # called with (step, steps) after every optimiser step


@dataclass(frozen=True)
class History:
    """What happened while tuning.

    Args:
        rows: `training.*` for the table.
        log: one plain dict per step, and per epoch, in order.
    """

    rows: list[Row]
    log: list[dict[str, Any]]


def train(
    encoder: Encoder,
    installed: Installed,
    head: nn.Module,
    spec: RunSpec,
    train: Examples,
    val: Examples,
    *,
    on_step: OnStep | None = None,
) -> History:
    """Tune what `installed` and the head leave trainable, in place; both end in evaluation mode.

    Each step minimises objective(head(features), labels) + Σ penalties on one batch. The order of the
    examples and every augmentation derive from (seed, epoch, example), and dropout draws from a generator
    seeded by `spec.seed`: on a CPU, the same call gives the same weights bit for bit. The caller's random
    numbers are left as they were found.

    Args:
        encoder: on which the method was installed.
        installed: the method at work.
        head: features "b d" → logits "b classes"; all its parameters that require gradients are trained.
        spec: the run; `lr`, `train`, `objective`, `penalties` and `seed` are read here.
        train: examples to learn from, all of them once per epoch; the last batch may be smaller.
        val: examples whose accuracy is taken after every epoch.
        on_step: called with (step, steps) after every optimiser step, step from 1.

    Raises:
        Diverged: loss or gradient are not finite, and the step that would have written that into the weights
            has not been taken; or the logits of the validation examples are not, after an epoch's last step.
    """
    # Accelerate's device, but not its `Accelerator`: that takes gradient accumulation from the environment
    # and holds one precision per process, whereas a run's result is decided by its spec alone.
    device = PartialState().device
    assert device is not None
    encoder.model.to(device)
    head.to(device)
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked):
        torch.manual_seed(spec.seed)
        run = _Run(encoder, installed, head, spec, train, val)
        try:
            return run.carry_out(on_step)
        except Diverged as error:
            error.history = History(run.rows, run.log)  # how it came to that is worth seeing
            raise


class _Run:
    """What the steps of one run share."""

    def __init__(
        self,
        encoder: Encoder,
        installed: Installed,
        head: nn.Module,
        spec: RunSpec,
        train: Examples,
        val: Examples,
    ):
        self.started = time.perf_counter()
        assert isinstance(spec.objective, Objective)
        assert isinstance(spec.train.optimizer, Optimizer)
        self.encoder, self.installed, self.head = encoder, installed, head
        self.spec, self.train, self.val = spec, train, val
        self.objective = spec.objective
        trainable_head = [p for p in head.parameters() if p.requires_grad]
        self.params = [*installed.trainable.values(), *trainable_head]
        self.optimizer = spec.train.optimizer.build(self.params, spec.lr)
        self.rows: list[Row] = []
        self.log: list[dict[str, Any]] = []
        self.labels = torch.as_tensor(train.labels, device=encoder.device)
        self._mode(training=False)
        penalties = [penalty for penalty in spec.penalties if isinstance(penalty, Penalty)]
        self.penalties = [(p, p.prepare(encoder, installed.tower, train)) for p in penalties]
        # With nothing to learn in the encoder its features are constants of the run: computed once.
        fixed = not installed.trainable and not penalties and spec.train.augment == "none"
        self.features = self._features(train) if fixed else None
        self.val_features = self._features(val) if not installed.trainable else None

    def carry_out(self, on_step: OnStep | None) -> History:
        settings, count = self.spec.train, len(self.train.labels)
        steps = settings.epochs * math.ceil(count / settings.batch_size)
        step = 0
        for epoch in range(settings.epochs):
            self._mode(training=True)
            uniform = draws(self.spec.seed, epoch, count, DRAWS) if settings.augment == "crop_flip" else None
            for indices in _batches(order(self.spec.seed, epoch, count), settings.batch_size):
                step += 1
                lr = self.spec.lr * factor(step - 1, steps, settings.schedule, settings.warmup)
                self._step(step, epoch, lr, indices, None if uniform is None else uniform[indices])
                if on_step is not None:
                    on_step(step, steps)
            self._mode(training=False)
            self._validate(step, epoch)
        self.optimizer.zero_grad()
        seconds = time.perf_counter() - self.started
        total = sum(p.numel() for p in [*self.encoder.model.parameters(), *self.head.parameters()])
        self.rows += [
            Row("training.seconds", seconds),
            Row("training.trainable", sum(p.numel() for p in self.params)),
            Row("training.total", total),
        ]
        return History(self.rows, self.log)

    def _step(
        self,
        step: int,
        epoch: int,
        lr: float,
        indices: NDArray[np.int64],
        uniform: NDArray[np.float64] | None,
    ) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        with self._look() as seen:
            with self._autocast():
                logits = self.head(self._batch_features(indices, uniform))
            loss = self.objective.loss(logits.float(), self.labels[indices])
            parts: dict[str, Tensor] = {}
            for penalty, state in self.penalties:
                value = penalty.value(state, seen)
                parts[penalty.kind] = parts.get(penalty.kind, 0) + value
                loss = loss + value
            self.optimizer.zero_grad()
            loss.backward()
        # An infinite limit leaves the gradients as they are, to the bit, and still gives their norm.
        norm = nn.utils.clip_grad_norm_(self.params, self.spec.train.clip_norm or math.inf)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise Diverged(step)
        self.optimizer.step()
        said: dict[str, Any] = {"step": step, "epoch": epoch, "loss": loss.item(), "lr": lr}
        said |= {"grad_norm": norm.item()}
        if parts:
            said["penalties"] = {kind: part.item() for kind, part in parts.items()}
        self.log.append(said)
        self.rows += [
            Row("training.loss", said["loss"], step=step),
            Row("training.lr", lr, step=step),
            *(
                Row("training.penalty", part.item(), component=kind, step=step)
                for kind, part in parts.items()
            ),
        ]

    def _validate(self, step: int, epoch: int) -> None:
        features = self._features(self.val) if self.val_features is None else self.val_features
        with torch.no_grad(), self._autocast():
            logits = self.head(features)
        if not torch.isfinite(logits).all():
            raise Diverged(step)
        right = logits.argmax(-1).cpu() == torch.as_tensor(self.val.labels)
        accuracy = right.double().mean().item()
        self.log.append({"step": step, "epoch": epoch, "val_acc1": accuracy})
        self.rows.append(Row("training.val_acc1", accuracy, split="val", step=step, n=len(right)))

    def _batch_features(self, indices: NDArray[np.int64], uniform: NDArray[np.float64] | None) -> Tensor:
        if self.features is not None:
            return self.features[indices]
        pixels = self.encoder.pixels(self.train.images[indices])
        if uniform is not None:
            pixels = crop_flip(pixels, torch.as_tensor(uniform, dtype=pixels.dtype, device=pixels.device))
        return self.encoder.image_features(pixels)

    def _features(self, examples: Examples) -> Tensor:
        """Features of all examples, in order, without gradients."""
        batches = _batches(np.arange(len(examples.labels)), self.spec.train.batch_size)
        with torch.no_grad(), self._autocast():
            pixels = (self.encoder.pixels(examples.images[indices]) for indices in batches)
            return torch.cat([self.encoder.image_features(batch) for batch in pixels])

    def _look(self):
        if any(penalty.needs_rows for penalty, _ in self.penalties):
            return watch(self.encoder, self.installed.tower, rows="pool", grad=True)
        return nullcontext()

    def _autocast(self):
        enabled = self.spec.train.precision == "bfloat16"
        return torch.autocast(self.encoder.device.type, torch.bfloat16, enabled=enabled)

    def _mode(self, training: bool) -> None:
        # A frozen encoder stays in evaluation mode: dropout in it would only blur its features.
        self.encoder.model.train(training and bool(self.installed.trainable))
        self.head.train(training)


def _batches(indices: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
