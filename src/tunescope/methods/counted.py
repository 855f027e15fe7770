"""Attached modules that add keys to the rows of attention, and are counted in the map while they act."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from tunescope.methods.attached import Attached

if TYPE_CHECKING:
    from tunescope.models.encoder import Encoder


class Counted(Attached):
    """Prompts or prefixes at work. Readers of attention drop as many leading keys as the map counts.

    Args:
        encoder: the encoder that holds them.
        tower: the tower that they tune.
        kind: of the method, for messages.
        paths: where they hang below `encoder.model`.
        reason: why they cannot be folded into the weights.
        field: of the tower's map: `prefix_tokens` for tokens, `prefix_keys` for keys of no token.
        count: how many they are in a row of attention.
    """

    def __init__(
        self,
        encoder: "Encoder",
        tower: str,
        kind: str,
        paths: list[str],
        reason: str,
        field: Literal["prefix_tokens", "prefix_keys"],
        count: int,
    ):
        super().__init__(encoder, tower, kind, paths, reason)
        self.field = field
        self.before: int = getattr(encoder.map.tower(tower), field)
        self._count(self.before + count)

    def _count(self, number: int) -> None:
        """Only the number changes: the map may have been fitted to another image size meanwhile."""
        old = self.encoder.map
        changed = replace(old.tower(self.tower), **{self.field: number})
        self.encoder.map = replace(old, towers=old.towers | {self.tower: changed})

    @contextmanager
    def _off(self) -> Iterator[None]:
        counted: int = getattr(self.encoder.map.tower(self.tower), self.field)
        with super()._off():
            self._count(self.before)
            try:
                yield
            finally:
                self._count(counted)
