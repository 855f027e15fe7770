"""What a probe is: settings that measure one model as it would be used."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from tunescope.results.metric import Metric
from tunescope.results.row import Row
from tunescope.study.component import Component
from tunescope.study.run import RunSpec
from tunescope.study.study import Study

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from tunescope.data.examples import Examples
    from tunescope.models.encoder import Encoder


@dataclass(frozen=True)
class Subject:
    """What a probe looks at: one model, in evaluation mode, and the examples it may read.

    Args:
        encoder: the base model, or the tuned one with its adapters active (or taken off: `base_only`).
        head: the trained head on the encoder's features; None where nothing was trained (the base).
        tower: the tower that the task tunes.
        examples: by split: `val`, `probe`, `test`, `shift:<data>`, `zero_shot:<data>`.
        batch_size: examples per forward pass.
    """

    encoder: "Encoder"
    head: "nn.Module | None"
    tower: str
    examples: "dict[str, Examples]"
    batch_size: int = 128


@dataclass(frozen=True)
class Measurement:
    """Rows for the table, and arrays for pictures (`attention.rollout`, …)."""

    rows: list[Row]
    arrays: "dict[str, np.ndarray]" = field(default_factory=dict)


class Probe(Component, ABC):
    """A measurement. `metrics` declares every name it writes; base, change and the like are derived."""

    metrics: ClassVar[tuple[Metric, ...]] = ()

    @abstractmethod
    def measure(self, subject: Subject) -> Measurement:
        """Measure one model. Rows carry plain metric names: `attention.entropy`, never `….change`."""


def probes_of(said: RunSpec | Study) -> list[Probe]:
    """The probes of a run or of a study, as what they are."""
    return [probe for probe in said.probes if isinstance(probe, Probe)]
