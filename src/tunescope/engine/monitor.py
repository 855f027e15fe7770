"""Live monitors: probes that look at the model while it is tuned, and may end the tuning."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import nn

from tunescope.data.examples import Examples
from tunescope.data.sample import few
from tunescope.engine.questions import DECIDING, check_monitor
from tunescope.errors import Diverged, ModelError, StudyError
from tunescope.models.encoder import Encoder
from tunescope.probes.change import WeightChange
from tunescope.probes.measure import Observed, derive, observe
from tunescope.probes.probe import Subject, probes_of
from tunescope.results.row import Row
from tunescope.study.run import Monitor
from tunescope.training.loop import Looked

UNSEEN = ("train", "test")  # learnt from; read once, after tuning


class LiveMonitor:
    """Measures a model every so many steps, beside its base, on a few examples of each set.

    Made while the encoder still is the base model, before a method is installed: it observes the base then.
    The test split is left out altogether. Shifts and zero-shot tasks are watched where the run has them, but
    the run is stopped by rows of the `val` and `probe` splits alone: no choice is made on what is tested.

    Pictures are of the images that the same probe shows of the whole set, so that they can be laid beside
    what is measured after tuning; of each look the arrays that a probe follows are kept (`Probe.followed`).

    Tuning goes on as if nobody had looked: random states, training modes and gradients are put back. What is
    measured is in float32, also where the steps are under autocast.

    Args:
        spec: what is measured, how often, on how many examples, and when the run is stopped.
        encoder: the base model; the method is installed on it afterwards.
        tower: the tower that is tuned.
        examples: by split, as the task laid them out.

    Attributes:
        change: gives the change of the model's own weights; set once the method is installed.

    Raises:
        StudyError: the rule to stop by does not fit the probes, or a probe reads a split that is not there.
    """

    change: Callable[[], WeightChange] | None = None

    def __init__(self, spec: Monitor, encoder: Encoder, tower: str, examples: dict[str, Examples]):
        check_monitor(spec)
        self.every: int | Literal["epoch"] = spec.every
        self._rule = spec.stop_on_collapse
        self._probes = probes_of(spec)
        self._encoder, self._tower = encoder, tower
        self._whole = {split: part for split, part in examples.items() if split not in UNSEEN}
        self._examples = {split: few(part, spec.examples) for split, part in self._whole.items()}
        with undisturbed(encoder.model):
            self._base = self._observe(None, 0)

    def look(self, step: int, head: nn.Module) -> Looked:
        """What the model is like after a step.

        At step 0 the rows are the base's own, as it was observed before the method was installed.

        Args:
            step: optimiser steps done; every row carries it.
            head: the head that is trained.

        Returns:
            the rows, in plain words why the run should end here, if it should, and the arrays that are
            followed.

        Raises:
            Diverged: the model's features are not finite any more.
            StudyError: no row of `val` or `probe` carries the metric to stop by.
        """
        with undisturbed(self._encoder.model, head):
            active = self._observe(head, step) if step else self._base
            found = derive(self._probes, self._base, active)
        rows = [row._replace(step=step) for row in found.rows if not row.metric.endswith(".base")]
        followed = [name for probe in self._probes for name in probe.followed if name in found.arrays]
        return Looked(rows, self._cause(step, rows), {name: found.arrays[name] for name in followed})

    def _observe(self, head: nn.Module | None, step: int) -> Observed:
        subject = Subject(
            self._encoder, head, self._tower, self._examples, change=self.change, whole=self._whole
        )
        try:
            return observe(self._probes, subject)
        except ModelError:
            inputs = next(iter(self._examples.values())).inputs
            if step == 0 or self._encoder.features(inputs).isfinite().all():
                raise
            raise Diverged(step) from None

    def _cause(self, step: int, rows: list[Row]) -> str | None:
        rule = self._rule
        if rule is None:
            return None
        values = [row.value for row in rows if row.metric == rule.metric and row.split in DECIDING]
        if not values:
            if step == 0:
                return None  # under a trained head the base has no rows
            raise StudyError(
                f"train.monitor.stop_on_collapse: {rule.metric!r} has no row of {' or '.join(DECIDING)} for "
                f"{self._encoder.name!r}, so nothing would stop the run; take a metric that it has"
            )
        mean = sum(values) / len(values)
        if not mean < rule.below:  # nor where it is not a number: the loop itself finds that a run diverged
            return None
        return (
            f"collapse: {rule.metric} is {mean:.4g} at step {step}, below {rule.below:g} (mean of "
            f"{len(values)} rows)"
        )


@contextmanager
def undisturbed(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode and float32 inside, without gradients; afterwards everything is as it was before.

    Python's, numpy's and torch's random states, each module's training mode, and the gradients that
    parameters hold.
    """
    params = [p for module in modules for p in module.parameters()]
    gradients = [p.grad for p in params]
    modes = [(part, part.training) for module in modules for part in module.modules()]
    python, numpy = random.getstate(), np.random.get_state()
    device = params[0].device
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked):
        try:
            for module in modules:
                module.eval()
            for p in params:
                p.grad = None  # a probe that runs backward would add to what is there
            with torch.no_grad(), torch.autocast(device.type, enabled=False):
                yield
        finally:
            for p, gradient in zip(params, gradients, strict=True):
                p.grad = gradient
            for part, training in modes:
                part.training = training
            random.setstate(python)
            np.random.set_state(numpy)
