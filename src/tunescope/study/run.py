"""One run: orthogonal choices, so that everything combines with everything."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tunescope.study.component import Adapt, After, Component, Objective, Optimizer, Penalty, Probes, resolve
from tunescope.study.federated import Federated
from tunescope.study.spec import Spec

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Split(Spec):
    """Shares of the examples; a concept falls on the same side in every style and every run.

    Choices are made on `val`, structure is measured on `probe`, and `test` is read once.
    """

    train: Share = 0.6
    val: Share = 0.1
    probe: Share = 0.1
    test: Share = 0.2

    @model_validator(mode="after")
    def _sums_to_one(self):
        total = self.train + self.val + self.probe + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares sum to {total:g}; expected 1")
        return self


class Task(Spec):
    """What is learnt: labelled data, and how it is split.

    `num_classes` is what the data are expected to have; it decides no result, and other data are an error.
    """

    data: str
    label: str | None = None
    num_classes: Annotated[int, Field(ge=2)] | None = None
    split: Split = Split()
    min_per_class: Annotated[int, Field(ge=4)] = 4
    on_error: Literal["raise", "skip"] = "raise"


class Transfer(Spec):
    """Where else the tuned model is measured: other tasks zero-shot, the same task under a shift."""

    zero_shot: tuple[str, ...] = ()
    shifts: tuple[str, ...] = ()


class Collapse(Spec):
    """When a run is stopped early: a watched metric, averaged over its rows, falls below a number.

    Only rows of the `val` and `probe` splits count: no choice is made on what is tested.
    """

    metric: str
    below: float


class Monitor(Spec):
    """Probes that look at the model while it is tuned, on a few examples of each set.

    Args:
        probes: what is measured; their rows carry the `step`.
        every: optimiser steps between two looks, or `epoch`: at the end of each. The first look is before the
            first step (step 0).
        examples: of each set, spread evenly over it.
        stop_on_collapse: ends the tuning; the run is measured and published as it then is.
    """

    probes: Annotated[Probes, Field(min_length=1)]
    every: Annotated[int, Field(ge=1)] | Literal["epoch"] = 50
    examples: Annotated[int, Field(ge=2)] = 64
    stop_on_collapse: Collapse | None = None


class Converged(Spec):
    """When a run counts as converged: over its last epochs a metric has not got better by more than this.

    Args:
        metric: `loss` (mean of an epoch's steps; smaller is better), `val_acc1` (larger is better) or, where
            numbers are predicted, `val_loss`.
        epochs: how many last epochs are held against the best of those before them.
        within: the gain, in the metric's unit, that still counts as none.
    """

    metric: Literal["loss", "val_acc1", "val_loss"] = "val_acc1"
    epochs: Annotated[int, Field(ge=1)] = 1
    within: Annotated[float, Field(ge=0)] = 0.01


class Train(Spec):
    """How long and how: everything about the loop but the learning rate.

    Args:
        epochs: how often every example is seen.
        batch_size: examples in one step.
        optimizer: what turns gradients into steps.
        schedule: shape of the learning rate after the warm-up.
        warmup: share of all steps in which it rises.
        layer_decay: d, by which the rate falls from each layer to the one below it: at block i of L it is
            d^(L − i) times the run's, and below the blocks d^(L + 1); None is as 1.
        head_lr: the head's own peak rate; None is the run's.
        lora_plus: how many times the rate of its place LoRA's B matrices have (LoRA+).
        ema: decay of a moving average of all that is trained. It is what is validated, watched and kept.
        clip_norm: what the norm of the gradient is cut to.
        augment: how the images are changed at random.
        precision: what the forward pass computes in; weights are float32.
        monitor: looks at the model meanwhile.
        converged: what counts as converged.
    """

    epochs: Annotated[int, Field(ge=1)] = 3
    batch_size: Annotated[int, Field(ge=1)] = 64
    optimizer: Optimizer = Field(default_factory=lambda: resolve("optimizer", "adamw"))
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    head_lr: Positive | None = None
    lora_plus: Annotated[float, Field(ge=1)] | None = None
    ema: Share | None = None
    clip_norm: Positive | None = 1.0
    augment: Literal["none", "crop_flip"] = "none"
    precision: Literal["float32", "bfloat16"] = "float32"
    monitor: Monitor | None = None
    converged: Converged | None = None

    @model_validator(mode="after")
    def _converged_has_epochs_to_compare(self):
        if self.converged is not None and self.converged.epochs >= self.epochs:
            raise ValueError(
                f"converged: the last {self.converged.epochs} epochs are held against those before them, and "
                f"there are {self.epochs} in all; give more epochs"
            )
        return self


def _parts(place: str, component: Component) -> Iterator[tuple[str, Component]]:
    """A component, and those among its settings: `train.optimizer` of kind sam has a `base`."""
    yield place, component
    for name, value in component:
        if isinstance(value, Component):
            yield from _parts(f"{place}.{name}", value)


class RunSpec(Spec):
    """Everything that decides a run's result, and nothing else: no device, no worker, no path.

    `image_size` (pixels) has the model take larger or smaller images than it was trained on, its position
    embeddings interpolated; None leaves it as it is. `max_tokens` is where texts are cut, special tokens
    included; None is where the model's positions end. `after` is what is done with the tuned weights; None
    leaves them. `federated` has clients tune, each on its own data; None tunes on all of it in one place.
    """

    model: str
    image_size: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    task: Task
    transfer: Transfer = Transfer()
    adapt: Adapt
    objective: Objective = Field(default_factory=lambda: resolve("objective", "cross_entropy"))
    penalties: tuple[Penalty, ...] = ()
    lr: Positive
    train: Train = Train()
    after: After = None
    federated: Federated | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    probes: Probes = ()

    @model_validator(mode="after")
    def _fits_rounds(self):
        """Refuse what has no meaning over rounds, and have `train.epochs` say how long they are together."""
        if self.federated is None:
            return self
        if self.train.ema is not None:
            raise ValueError("train.ema: a federated run has no moving average; remove it")
        if self.adapt.kind == "lp_ft":
            raise ValueError("adapt lp_ft: a federated run has no stage before its rounds; take full or lora")
        if self.after is not None:
            raise ValueError(f"after {self.after.kind}: nothing follows a federated run; remove it")
        if self.train.monitor is not None and self.train.monitor.every != "epoch":
            raise ValueError("train.monitor: a federated run is looked at after each round: say every: epoch")
        if self.train.monitor is not None and self.train.monitor.stop_on_collapse is not None:
            raise ValueError("train.monitor.stop_on_collapse: all rounds are carried out; remove it")
        if self.train.monitor is None and self.federated.watch_clients:
            raise ValueError(
                "federated.watch_clients: the probes of train.monitor look at clients, and there is none; "
                "add train: {monitor: {probes: [attention], every: epoch}}, or remove it"
            )
        train = self.train.model_copy(update={"epochs": self.federated.epochs})
        object.__setattr__(self, "train", train)  # frozen for everybody else
        return self

    def components(self) -> dict[str, Component]:
        """Every component of the run, and those that they are made of, by their place in the spec."""
        found = {"adapt": self.adapt, "objective": self.objective, "optimizer": self.train.optimizer}
        found |= {f"penalties.{i}": penalty for i, penalty in enumerate(self.penalties)}
        if self.after is not None:
            found["after"] = self.after
        if self.train.monitor is not None:
            found |= {f"monitor.{i}": probe for i, probe in enumerate(self.train.monitor.probes)}
        found |= {f"probes.{i}": probe for i, probe in enumerate(self.probes)}
        if self.federated is not None:
            found |= {"partition": self.federated.partition, "strategy": self.federated.strategy}
        return {place: part for top, whole in found.items() for place, part in _parts(top, whole)}

    def data_references(self) -> tuple[str, ...]:
        """Every data set that the run reads, the task's first, each once."""
        clients = () if self.federated is None else self.federated.data
        found = (self.task.data, *self.transfer.shifts, *self.transfer.zero_shot, *clients)
        return tuple(dict.fromkeys(found))
