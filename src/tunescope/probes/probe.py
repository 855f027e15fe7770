"""What a probe is: settings that measure one model as it would be used, and may hold it against another."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from tunescope.errors import StudyError, nearest
from tunescope.probes.kept import InMemory, Kept, Progress, silent
from tunescope.results.metric import Metric
from tunescope.results.row import Row
from tunescope.study.component import Component
from tunescope.study.run import Monitor, RunSpec
from tunescope.study.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from torch import Tensor, nn

    from tunescope.data.examples import Examples
    from tunescope.models.encoder import Encoder
    from tunescope.probes.change import WeightChange


@dataclass(frozen=True)
class Subject:
    """What a probe looks at: one model, in evaluation mode, and the examples it may read.

    Args:
        encoder: the base model, or the tuned one with its adapters active (or taken off: `base_only`).
        head: the trained head on the encoder's features; None where nothing was trained (the base).
        tower: the tower that the task tunes.
        examples: by split: `val`, `probe`, `test`, `shift:<data>`, `zero_shot:<data>`.
        whole: the sets that `examples` are a few of, so that pictures are of the same images however many are
            measured; None where `examples` are whole.
        batch_size: examples per forward pass.
        change: gives the change of the model's own weights, as it is when called; None where nothing has
            changed them: the base model, and the tuned one with its adapter off.
        head_origin: the head's parameters before its first step, by name; None where that is not told.
        kept: what long measurements of this model have computed already. It belongs to the model as it is:
            `replace` passes it on, so a subject of another model, or of other examples, is given its own.
        progress: told how far a long measurement has come: what is measured, done, of how many.
    """

    encoder: "Encoder"
    head: "nn.Module | None"
    tower: str
    examples: "dict[str, Examples]"
    batch_size: int = 128
    change: "Callable[[], WeightChange] | None" = None
    head_origin: "dict[str, Tensor] | None" = None
    whole: "dict[str, Examples] | None" = None
    kept: Kept = field(default_factory=InMemory)
    progress: Progress = silent


@dataclass(frozen=True)
class Measurement:
    """Rows for the table, and arrays for pictures (`attention.rollout`, …).

    An array whose name starts with `_` is only for `Probe.compare`: it is kept with what was measured of a
    base model, and never published with a run.
    """

    rows: list[Row]
    arrays: "dict[str, np.ndarray]" = field(default_factory=dict)


class Probe(Component, ABC):
    """A measurement. `metrics` declares every name it writes; base, change and the like are derived.

    `followed` names those of its arrays that a live monitor keeps of every look: small ones.
    """

    metrics: ClassVar[tuple[Metric, ...]] = ()
    followed: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def measure(self, subject: Subject) -> Measurement:
        """Measure one model. Rows carry plain metric names: `attention.entropy`, never `….change`."""

    def compare(self, base: Measurement, active: Measurement) -> Measurement:
        """What only base and tuned model together give, from what `measure` gave of each; here, nothing.

        They too carry plain names, and the metrics behind them derive at most `base_only`.
        """
        return Measurement([])

    def examples(self, subject: Subject, split: str) -> "Examples":
        """The examples of a split that this probe was told to read.

        Raises:
            StudyError: the split is not there, or is empty.
        """
        if split not in subject.examples:
            known = nearest(split, subject.examples)
            raise StudyError(f"{self.kind} probe: no split {split!r} among the examples; {known}")
        found = subject.examples[split]
        if len(found.labels) == 0:
            raise StudyError(f"{self.kind} probe: split {split!r} is empty; expected at least one example")
        return found


def probes_of(said: RunSpec | Study | Monitor) -> list[Probe]:
    """The probes of a run, of a study or of a live monitor, as what they are."""
    return [probe for probe in said.probes if isinstance(probe, Probe)]
