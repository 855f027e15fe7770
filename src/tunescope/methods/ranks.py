"""Ranks by role: one number for every target, or numbers by block and by role."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Discriminator, Field, Tag

from tunescope.errors import MethodError, nearest

if TYPE_CHECKING:
    from tunescope.models.encoder import Encoder


def _said_as(value: Any) -> str:
    return "by role" if isinstance(value, Mapping) else "number"


REST = "*"
_AtLeastOne = Annotated[int, Field(ge=1)]
Rank = Annotated[
    Annotated[int, Field(ge=1), Tag("number")]
    | Annotated[dict[str, _AtLeastOne], Field(min_length=1), Tag("by role")],
    Discriminator(_said_as),
]


def ranks_by_path(
    rank: int | Mapping[str, int],
    targets: Iterable[str],
    paths: Iterable[str],
    encoder: "Encoder",
    tower: str,
) -> dict[str, int]:
    """The rank of every target matrix.

    Patterns of a mapping are role patterns of the model map (`q`, `vision.blocks[0-3].attention.q`) or blocks
    without a role (`vision.blocks[0-3]`, `blocks[4-]`): every target in them; or `*`: every target that no
    other pattern names. No target may be in two patterns or in none, so the order of a mapping means nothing.

    Args:
        rank: one number, or numbers by pattern.
        targets: role patterns of the targets, for the message.
        paths: dotted paths of the targets.
        encoder: the model.
        tower: the tower that patterns mean which name none.

    Raises:
        MethodError: a pattern that is not one of this model or that matches no target, a target in two
            patterns, or in none.
    """
    paths = list(paths)
    if isinstance(rank, int):
        return dict.fromkeys(paths, rank)
    by: dict[str, str] = {}
    for pattern in (said for said in rank if said != REST):
        covered = [path for path in paths if path in _named(pattern, encoder, tower)]
        if not covered:
            raise MethodError(f"rank: {pattern!r} matches none of the targets; {nearest(pattern, targets)}")
        for path in covered:
            if path in by:
                raise MethodError(
                    f"rank: {path} is in {by[path]!r} and in {pattern!r}; give patterns that do not overlap"
                )
            by[path] = pattern
    by |= {path: REST for path in paths if REST in rank and path not in by}
    if left := [path for path in paths if path not in by]:
        raise MethodError(
            f"rank: no pattern matches {left[0]} ({len(left)} such targets); "
            f"add a pattern for them ({REST!r} is all that no other names), or leave them out of the targets"
        )
    return {path: rank[by[path]] for path in paths}


def _named(pattern: str, encoder: "Encoder", tower: str) -> set[str]:
    """The paths of the roles that a pattern names; without a role, of all of its blocks."""
    if not re.fullmatch(r"(\w+\.)?blocks\[[^\]]*\]", pattern):
        return set(encoder.map.paths(pattern, tower))
    blocks = set(encoder.map.paths(f"{pattern}.mlp.fc2", tower))
    chosen = [block for found in encoder.map.towers.values() for block in found.blocks if block.fc2 in blocks]
    return {
        path for _, path in encoder.map.roles() if any(path.startswith(f"{block.path}.") for block in chosen)
    }
