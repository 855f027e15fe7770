"""The one map: where each role of a transformer encoder is, whatever its family calls it.

Methods and probes speak of roles — `vision.blocks[3].attention.q` — and never of module names. The map
holds dotted paths, not modules: peft replaces modules in place, and a path finds what stands there now.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn

from tunescope.errors import MethodError, ModelError, nearest

Pooling = Literal["cls", "eos", "last", "probe", "mean"]
Output = Literal["image_embeds", "pooler_output", "cls"]


@dataclass(frozen=True)
class Block:
    """Dotted paths, from the model, of one transformer block and of the parts it is made of.

    A gated MLP computes fc2(act(gate(x)) · fc1(x)); a plain one, fc2(act(fc1(x))), has no gate. Where one
    matrix makes queries, keys and values (ModernBERT), it is `qkv`, and there are no q, k and v. `norm1` and
    `norm2` are attention's and the MLP's: before it, or behind the sum with its residual (BERT).
    """

    path: str
    attention: str  # the module that calls the attention function; the seam knows it by identity
    o: str
    fc1: str
    fc2: str
    norm2: str
    norm1: str | None = None  # the first block of ModernBERT has none
    q: str | None = None
    k: str | None = None
    v: str | None = None
    qkv: str | None = None
    gate: str | None = None


@dataclass(frozen=True)
class Tower:
    """One encoder: a stack of blocks with the same attention geometry.

    Args:
        name: `vision` or `text`.
        path: dotted path of the tower's module (`""` where the model is the tower).
        blocks: from the input up.
        heads: attention heads per block.
        head_dim: size of one head.
        prefix_tokens: tokens before the patches in the blocks: [CLS], registers and, while they are in,
            visual prompts. For text, prompts alone, which stand behind the first token.
        pooling: which row the tower is read by: `cls` (token 0), `eos` (one token per text), `last` (the
            last token, padding or not: SigLIP's text), `probe` (an attention pooling head, as in SigLIP's
            vision), `mean`.
        grid: patches down and across at `image_size`; None for text.
        patch_size: pixels.
        image_size: pixels of the images that the model's preprocessing gives.
        positions: path of the position embedding (a parameter or an `nn.Embedding`).
        pooler: path of the attention-pooling module, where `pooling` is `probe`.
        final: paths after the last block that belong to the tower (final norm, projection).
        embeddings: path of the module before the first block.
        feature_dim: size of what the tower is read as.
        output: where a model without text keeps its features: a field of its output, or `cls`, token 0 of
            the last hidden state.
        interpolates: whether it fits its positions to images of any size in its own forward pass (DINOv2).
        words: path of the embedding of token ids; None for vision.
        max_tokens: the most tokens, special ones included, that its positions allow; None for vision.
        prefix_keys: keys of no token, in front of the tokens' own, while prefix tuning is in.
    """

    name: str
    path: str
    blocks: tuple[Block, ...]
    heads: int
    head_dim: int
    prefix_tokens: int
    pooling: Pooling
    embeddings: str
    final: tuple[str, ...] = ()
    grid: tuple[int, int] | None = None
    patch_size: int | None = None
    image_size: int | None = None
    positions: str | None = None
    pooler: str | None = None
    feature_dim: int = 0
    output: Output = "cls"
    interpolates: bool = False
    words: str | None = None
    max_tokens: int | None = None
    prefix_keys: int = 0

    @property
    def leading_keys(self) -> int:
        """Keys before the patches, or before a text's own tokens, in the rows that `seam.watch` gives."""
        return self.prefix_keys + self.prefix_tokens


# Roles below `blocks[i]`, as users write them, and the field of `Block` behind each.
ROLES = {
    "attention.q": "q",
    "attention.k": "k",
    "attention.v": "v",
    "attention.qkv": "qkv",
    "attention.o": "o",
    "mlp.fc1": "fc1",
    "mlp.fc2": "fc2",
    "mlp.gate": "gate",
    "norm1": "norm1",
    "norm2": "norm2",
}
SHORT_ROLES = {role.split(".")[1]: role for role in ROLES if "." in role}


@dataclass(frozen=True)
class ModelMap:
    """The towers of one model, by name."""

    family: str
    towers: dict[str, Tower]

    def tower(self, name: str) -> Tower:
        """The tower of that name.

        Raises:
            MethodError: this model has no such tower.
        """
        if name not in self.towers:
            raise MethodError(f"{self.family} has no {name!r} tower; {nearest(name, self.towers)}")
        return self.towers[name]

    def roles(self) -> Iterator[tuple[str, str]]:
        """Every role that names one module, as `(role, dotted path)`."""
        for tower in self.towers.values():
            for i, block in enumerate(tower.blocks):
                for role, field in ROLES.items():
                    if (path := getattr(block, field)) is not None:
                        yield f"{tower.name}.blocks[{i}].{role}", path

    def paths(self, pattern: str, tower: str = "vision") -> list[str]:
        """The dotted paths that a role pattern names.

        Args:
            pattern: a full role, `vision.blocks[3].attention.q`; a range of blocks,
                `vision.blocks[0-3].attention.q`, `vision.blocks[4-].mlp.fc1`; or a role of every block of
                `tower`: `attention.q`, or `q` for short.
            tower: used when the pattern names none.

        Raises:
            MethodError: the pattern names nothing; the nearest role is named.
        """
        role = SHORT_ROLES.get(pattern, pattern)
        parsed = re.fullmatch(
            r"(?:(\w+)\.)?(?:blocks\[(\d+)?(-)?(\d+)?\]\.)?((?:attention|mlp)\.\w+|norm[12])", role
        )
        if parsed is None or parsed[5] not in ROLES:
            known = [*SHORT_ROLES, *ROLES]
            raise MethodError(
                f"unknown role {pattern!r}; {nearest(role.rsplit(']', 1)[-1].lstrip('.'), known)}"
            )
        blocks = self.tower(parsed[1] or tower).blocks
        first = int(parsed[2] or 0)
        last = int(parsed[4]) if parsed[4] else (first if parsed[2] and not parsed[3] else len(blocks) - 1)
        if first >= len(blocks) or last >= len(blocks) or first > last:
            raise MethodError(f"role {pattern!r}: the tower has blocks 0 to {len(blocks) - 1}")
        field = ROLES[parsed[5]]
        paths = [getattr(block, field) for block in blocks[first : last + 1]]
        if None in paths:
            raise MethodError(f"role {pattern!r}: {self._without(field, blocks[0])}")
        return paths

    def _without(self, field: str, block: Block) -> str:
        """Why blocks have no such part, and what to name instead."""
        if field in ("q", "k", "v"):
            return f"in {self.family} q, k and v are one matrix; use attention.qkv"
        if field == "qkv":
            return f"in {self.family} q, k and v are matrices of their own; use q, k and v"
        if field == "norm1":
            return f"the first block of {self.family} has no norm1; use blocks[1-].norm1"
        if block.qkv is not None:  # ModernBERT fuses these as well
            return f"in {self.family} the gate and fc1 of an MLP are one matrix; use mlp.fc1"
        return f"the MLPs of {self.family} have no gate; use fc1 and fc2"


def module_at(model: nn.Module, path: str) -> nn.Module:
    """The module that stands at a dotted path now (`""` is the model itself)."""
    return model.get_submodule(path)


def grid(config) -> tuple[int, int]:
    """Patches down and across, from a vision config's `image_size` and `patch_size` in pixels.

    Raises:
        ModelError: images or patches that are not square.
    """
    for size in (config.image_size, config.patch_size):
        if not isinstance(size, int):
            raise ModelError(
                f"image_size or patch_size is {size}: only square images and patches are supported"
            )
    side = config.image_size // config.patch_size
    return side, side
