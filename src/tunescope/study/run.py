"""One run: orthogonal choices, so that everything combines with everything."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tunescope.study.component import Adapt, Component, Objective, Optimizer, Penalty, Probe, resolve
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
    """What is learnt: labelled data, and how it is split."""

    data: str
    label: str | None = None
    split: Split = Split()
    min_per_class: Annotated[int, Field(ge=4)] = 4
    on_error: Literal["raise", "skip"] = "raise"


class Transfer(Spec):
    """Where else the tuned model is measured: other tasks zero-shot, the same task under a shift."""

    zero_shot: tuple[str, ...] = ()
    shifts: tuple[str, ...] = ()


class Train(Spec):
    """How long and how: everything about the loop but the learning rate."""

    epochs: Annotated[int, Field(ge=1)] = 3
    batch_size: Annotated[int, Field(ge=1)] = 64
    optimizer: Optimizer = Field(default_factory=lambda: resolve("optimizer", "adamw"))
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1  # share of all steps
    clip_norm: Positive | None = 1.0
    augment: Literal["none", "crop_flip"] = "none"
    precision: Literal["float32", "bfloat16"] = "float32"


class RunSpec(Spec):
    """Everything that decides a run's result, and nothing else: no device, no worker, no path."""

    model: str
    task: Task
    transfer: Transfer = Transfer()
    adapt: Adapt
    objective: Objective = Field(default_factory=lambda: resolve("objective", "cross_entropy"))
    penalties: tuple[Penalty, ...] = ()
    lr: Positive
    train: Train = Train()
    seed: Annotated[int, Field(ge=0)] = 0
    probes: tuple[Probe, ...] = ()

    def components(self) -> dict[str, Component]:
        """Every component of the run, by its place in the spec."""
        found = {"adapt": self.adapt, "objective": self.objective, "optimizer": self.train.optimizer}
        found |= {f"penalties.{i}": penalty for i, penalty in enumerate(self.penalties)}
        return found | {f"probes.{i}": probe for i, probe in enumerate(self.probes)}

    def data_references(self) -> tuple[str, ...]:
        """Every data set that the run reads, the task's first, each once."""
        return tuple(dict.fromkeys((self.task.data, *self.transfer.shifts, *self.transfer.zero_shot)))
