"""The penalties of one run: what fits together, what they need of the base model, what they say at a step."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tunescope.data.examples import Examples
from tunescope.errors import MethodError
from tunescope.methods.method import Installed
from tunescope.methods.tower_parameters import tower_parameters
from tunescope.models.encoder import Encoder
from tunescope.models.seam import Seen, watch
from tunescope.models.tokens import Tokens, pooled_tokens
from tunescope.objectives.objective import Objective, Penalty, Shown
from tunescope.study.run import RunSpec


class Watch(NamedTuple):
    """What is kept beside the forward pass of a step, where a penalty asks for it."""

    rows: Seen | None
    tokens: Tokens | None


class Penalties:
    """The penalties of a run, prepared on its base model; make it in evaluation mode, before the first step.

    Args:
        encoder: on which the method was installed.
        installed: the method at work.
        spec: the run.
        train: the examples that are learnt from.
        world: how many processes share the run.

    Raises:
        MethodError: several processes share the run, and a penalty or the objective couples the examples of a
            batch; a penalty compares single images, and they are augmented; or it looks at a tower in which
            nothing is trained.
    """

    def __init__(self, encoder: Encoder, installed: Installed, spec: RunSpec, train: Examples, world: int):
        self.encoder, self.tower = encoder, installed.tower
        penalties = [penalty for penalty in spec.penalties if isinstance(penalty, Penalty)]
        self.watched = frozenset[str]().union(*(penalty.watches for penalty in penalties))
        _check_processes(penalties, spec, world)
        check_penalties(encoder, installed, spec)
        self.prepared = []
        for penalty in penalties:
            with (installed.without() if penalty.watches else None) or nullcontext():
                self.prepared.append((penalty, penalty.prepare(encoder, self.tower, train)))

    @property
    def every_block(self) -> bool:
        """Whether the forward pass of a step must run every block, because a penalty looks into it."""
        return not self.watched.isdisjoint(("rows", "tokens"))

    @contextmanager
    def watching(self) -> Iterator[Watch]:
        """Around the forward pass of a step; the backward pass belongs inside as well."""
        rows = tokens = nullcontext()
        if "rows" in self.watched:
            rows = watch(self.encoder, self.tower, rows="pool", grad=True)
        if "tokens" in self.watched:
            tokens = pooled_tokens(self.encoder, self.tower)
        with rows as seen, tokens as kept:
            yield Watch(seen, kept)

    def values(self, features: Tensor, kept: Watch, indices: NDArray[np.int64]) -> dict[str, Tensor]:
        """What they say of a step, by kind, with gradients.

        Args:
            features: of the batch.
            kept: what `watching` gave.
            indices: which training examples the batch holds.
        """
        shown = Shown(features, kept.rows, kept.tokens)
        parts: dict[str, Tensor] = {}
        for penalty, state in self.prepared:
            parts[penalty.kind] = parts.get(penalty.kind, 0) + penalty.value(state, shown, indices)
        return parts


def check_penalties(encoder: Encoder, installed: Installed, spec: RunSpec) -> None:
    """Whether the run's penalties fit its method and its augmentation; nothing is computed.

    Raises:
        MethodError: a penalty compares single images, and they are augmented; or it looks at a tower in which
            nothing is trained.
    """
    for penalty in spec.penalties:
        if isinstance(penalty, Penalty):
            _check(penalty, encoder, installed, spec)


def _check_processes(penalties: list[Penalty], spec: RunSpec, world: int) -> None:
    assert isinstance(spec.objective, Objective)
    coupling = [f"penalty {penalty.kind}" for penalty in penalties if penalty.watches]
    coupling += [f"objective {spec.objective.kind}"] if spec.objective.couples else []
    if coupling and world > 1:
        raise MethodError(
            f"{', '.join(coupling)}: a function of the whole batch, which {world} processes share; "
            "carry this run out in one process"
        )


def _check(penalty: Penalty, encoder: Encoder, installed: Installed, spec: RunSpec) -> None:
    if penalty.by_example and spec.train.augment != "none":
        raise MethodError(
            f"penalty {penalty.kind}: it holds each image to what the base model made of the same "
            f"image, and train.augment: {spec.train.augment} changes them; use augment: none"
        )
    if not penalty.watches:
        return
    held = tower_parameters(encoder.model, encoder.map, installed.tower).keys()
    if held.isdisjoint(installed.trainable):
        raise MethodError(
            f"penalty {penalty.kind}: it looks at the {installed.tower} tower, in which adapt: "
            f"{spec.adapt.kind} trains nothing, so it would be the same at every step; leave it out, or take "
            "a method that trains that tower"
        )
