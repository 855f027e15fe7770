"""A way of tuning for each tower of a model."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, ClassVar, NoReturn

from pydantic import model_validator

from tunescope.errors import MethodError
from tunescope.methods.method import Installed, Method
from tunescope.study.component import Adapt

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from tunescope.models.encoder import Encoder


class PerTower(Method):
    """Tunes the vision and the text tower at once, each in its own way; a tower left out stays frozen.

    Both towers of FLYP train fully: `{kind: per_tower, vision: full, text: full}`. Of the ways that go
    through peft one can be at work at a time: for LoRA in both towers take one `lora` with targets in both,
    such as `[vision.attention.q, text.attention.q]`, and a `rank` for each. Trainable parameters: those of
    both.

    Source: Goyal et al. 2023 (arXiv 2212.00638), section 3: image and text encoder are both tuned.

    Args:
        vision: how the vision tower is tuned.
        text: how the text tower is tuned.

    >>> PerTower(vision="full", text={"kind": "last_k", "blocks": 1}).text
    LastK(kind='last_k', blocks=1)
    """

    kind: str = "per_tower"
    source: ClassVar[str] = "Goyal et al. 2023, arXiv 2212.00638, section 3"
    vision: Adapt | None = None
    text: Adapt | None = None

    @model_validator(mode="after")
    def _towers_are_named_once(self):
        named = {name: getattr(self, name) for name in ("vision", "text") if getattr(self, name) is not None}
        if not named:
            raise ValueError("per_tower: name a way for vision, for text or for both, such as text: full")
        for name, adapt in named.items():
            if adapt.kind in ("per_tower", "lp_ft"):
                raise ValueError(
                    f"per_tower: {name}: {adapt.kind} is for the whole model; give what tunes one tower, "
                    "such as full, and for LP-FT per_tower in its `then`"
                )
        return self

    def install(self, encoder: "Encoder", tower: str = "vision") -> "InstalledPerTower":
        """Install both, vision first.

        Args:
            encoder: a freshly loaded encoder on which no method is installed.
            tower: the tower that reads the task; penalties look at it.

        Raises:
            MethodError: the model has no such tower, a way does not fit its tower or trains something outside
                of it, or both go through peft.
        """
        from tunescope.methods.peft_adapter import PeftMethod
        from tunescope.methods.tower_parameters import tower_parameters

        ways = {name: way for name in ("vision", "text") if isinstance(way := getattr(self, name), Method)}
        for name in (tower, *ways):
            encoder.map.tower(name)
        if len(through := [way.kind for way in ways.values() if isinstance(way, PeftMethod)]) > 1:
            raise MethodError(
                f"per_tower: {' and '.join(through)} both go through peft, which holds one adapter at a "
                "time; take one of them alone, its targets in both towers, such as "
                "targets: [vision.attention.q, text.attention.q]"
            )
        parts: dict[str, Installed] = {}
        for name, way in ways.items():
            parts[name] = way.install(encoder, name)
            outside = parts[name].trainable.keys() - tower_parameters(encoder.model, encoder.map, name)
            if outside:
                raise MethodError(
                    f"per_tower: {name}: {way.kind} would train {min(outside)!r}, which is no part of that "
                    f"tower; give targets in {name} alone"
                )
        return InstalledPerTower(encoder, tower, parts)


class InstalledPerTower(Installed):
    """Two methods at work, one in each tower.

    Args:
        encoder: the encoder that holds them.
        tower: the tower that reads the task.
        parts: the methods by tower.
    """

    def __init__(self, encoder: "Encoder", tower: str, parts: Mapping[str, Installed]):
        # A method freezes all that it does not train, the other tower too: what both train is set free here.
        super().__init__(encoder, tower, _union(part.trainable for part in parts.values()))
        self.parts = {name: part for name, part in parts.items() if part.trainable}

    @property
    def buffers(self) -> "dict[str, Tensor]":
        """Those of both."""
        return _union(part.buffers for part in self.parts.values())

    def after_step(self, step: int, steps: int) -> None:
        """Each after its own manner."""
        for part in self.parts.values():
            part.after_step(step, steps)

    def without(self) -> AbstractContextManager[None] | None:
        """A context in which both are off; None where one of them cannot be taken off."""
        off = [part.without() for part in self.parts.values()]
        return _all([one for one in off if one is not None]) if off and None not in off else None

    def merge(self) -> None:
        """Fold both into plain weights.

        Raises:
            MethodError: one of them cannot be folded in; where it says so beforehand, nothing is changed.
        """
        from tunescope.methods.peft_adapter import InstalledPeft

        # What cannot be merged refuses at once, and only peft's layers change the model.
        for part in sorted(self.parts.values(), key=lambda part: isinstance(part, InstalledPeft)):
            part.merge()
        self.trainable = _union(part.trainable for part in self.parts.values())

    def weights(self) -> "dict[str, Tensor]":
        """The plain model's parameters that either changes."""
        return _union(part.weights() for part in self.parts.values())

    def update(self, base: "Encoder") -> "dict[str, Tensor]":
        """The effective change of both towers' weights; refused as soon as one of them has none."""
        return _union(part.update(base) for part in self.parts.values())

    def origin(self) -> "dict[str, Tensor]":
        """Where the line from the base model begins, in both towers; refused where one of them has none."""
        return _union(part.origin() for part in self.parts.values())

    def save_adapter(self, folder: "str | Path") -> NoReturn:
        """Refused.

        Raises:
            MethodError: always: peft's format holds one adapter, and not what the other tower's way trains.
        """
        raise MethodError(
            f"nothing to write to {folder} in peft's format: per_tower is two methods, and peft's format "
            "holds one adapter; save its state_dict(), or tune with one lora whose targets are in both towers"
        )


@contextmanager
def _all(contexts: list[AbstractContextManager[None]]) -> Iterator[None]:
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


def _union(parts):
    """The towers' names are their own, so nothing is lost."""
    return {name: value for part in parts for name, value in part.items()}
