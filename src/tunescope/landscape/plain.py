"""A model walked between sets of weights, with no more of them in memory than the ends."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tunescope.errors import ModelError
from tunescope.models.encoder import Encoder
from tunescope.models.modelmap import Block, module_at

Weights = Mapping[str, Tensor]  # by the plain model's parameter names
Place = float | tuple[float, ...]  # α; or one coordinate for each of several ends beside the base


class Walk:
    """θ(α) = (1 − α)·θ₀ + α·θ₁ of a plain model: α = 0 is the base, α = 1 the tuned weights, bit for bit.

    What walks is the base's own encoder: it is θ₀ again, bit for bit, outside of the contexts below. Beside
    the ends nothing as large is held: a block's weights are made from both just before that block computes,
    in a buffer that all blocks share, and of a table of words only the rows that are looked up. What stands
    outside of the blocks (norms, projections, positions) is made once for each α.

    With a second end θ₂ it walks the plane through three models: θ(s, t) = (1 − s − t)·θ₀ + s·θ₁ + t·θ₂.

    Peak memory is that of the ends and the largest block. No end is copied that is on the device.

    Args:
        base: a plain encoder, no method installed, in evaluation mode.
        *ends: θ₁, and θ₂ for a plane, by the base's parameter names, as merging leaves them; what is not
            named is the base's.
        device: where to compute; None is where the base is. It moves there at once, and back on `close`.

    Attributes:
        encoder: what walks.

    Raises:
        ModelError: a weight that the base has not, or has in another shape.

    Source: Wortsman et al. 2022 (arXiv 2109.01903), section 3, equation 1; the plane: Garipov et al. 2018
    (arXiv 1802.10026), section 3 and appendix A.1.
    """

    def __init__(self, base: Encoder, *ends: Weights, device: torch.device | None = None):
        plain = dict(base.model.named_parameters())
        for end in ends:
            for name, value in end.items():
                _fits(base.name, name, plain.get(name), value)
        self.encoder, self._home = base, base.device
        base.model.to(device or base.device)
        self._held: dict[str, nn.Parameter] = {}
        self._ends: dict[
            str, tuple[Tensor, ...]
        ] = {}  # the base's first; an end may be the base's own tensor
        for name, parameter in plain.items():
            given = [end[name].detach().to(parameter) if name in end else parameter.data for end in ends]
            if not all(torch.equal(value, parameter) for value in given):
                self._held[name], self._ends[name] = parameter, (parameter.data, *given)
        towers = list(base.map.towers.values())
        blocks = [block.path for tower in towers for block in tower.blocks]
        self._blocks = {path: [n for n in self._held if n.startswith(f"{path}.")] for path in blocks}
        tables = [f"{tower.words}.weight" for tower in towers]
        self._tables = [name for name in tables if name in self._held]
        elsewhere = {name for names in self._blocks.values() for name in names} | {*self._tables}
        self._rest = [name for name in self._held if name not in elsewhere]
        self._buffer: Tensor | None = None
        self._made: tuple[str, Place] | None = None  # the block in the buffer, and where it stands

    def close(self) -> None:
        """Let go of the buffer, and put the base back to where it was."""
        self._buffer = None
        self.encoder.model.to(self._home)

    def __enter__(self) -> "Walk":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stays_in(self, tower: str) -> bool:
        """Whether every weight that differs between the ends belongs to that tower."""
        place = self.encoder.map.tower(tower)
        paths = [place.path, *place.final] if place.path else [""]
        inside = tuple(f"{path}." if path else "" for path in paths)
        return all(name.startswith(inside) for name in self._held)

    def distance(self, block: Block) -> float:
        """‖θ₁ − θ₀‖ of one block's weights, in float64."""
        pairs = (self._ends[name][:2] for name in self._blocks[block.path])
        return math.sqrt(sum(float((end.double() - start).square().sum()) for start, end in pairs))

    @contextmanager
    def at(self, place: Place) -> Iterator[Encoder]:
        """The encoder at θ(α); without gradients.

        For forward passes alone: between them a block's parameters are not at θ(α) where 0 < α < 1, and
        nothing may be written to them.

        Args:
            place: α, 0 is θ₀ and 1 is θ₁; (s, t) where there are two ends.
        """
        hooks, tables = [], []
        inner = _corner(place) is None
        self._made = None
        try:
            with torch.no_grad():
                for name in self._rest if inner else self._held:
                    self._held[name].data = self._mixed(name, place)
                for name in self._tables if inner else ():
                    tables.append(module_at(self.encoder.model, name.removesuffix(".weight")))
                    tables[-1].forward = self._looking_up(name, place)
                for path, names in self._blocks.items() if inner else ():
                    if names:
                        block = module_at(self.encoder.model, path)
                        hooks.append(block.register_forward_pre_hook(self._making(path, place)))
                yield self.encoder
        finally:
            for hook in hooks:
                hook.remove()
            for table in tables:
                del table.forward
            for name, parameter in self._held.items():
                parameter.data = self._ends[name][0]

    @contextmanager
    def block_at(self, block: Block, alpha: float) -> Iterator[None]:
        """Inside of `at(0)` or `at(1)`: one block at an α of its own, the rest as they stand.

        Args:
            block: of the encoder's map.
            alpha: where its weights stand.
        """
        names = self._blocks[block.path]
        before = {name: self._held[name].data for name in names}
        try:
            if _corner(alpha) is None:
                self._make(block.path, alpha)
            else:
                for name in names:
                    self._held[name].data = self._mixed(name, alpha)
            yield
        finally:
            for name in names:
                self._held[name].data = before[name]

    @contextmanager
    def held(self, place: Place) -> Iterator[Encoder]:
        """The encoder at θ(α), every parameter a tensor of its own that may be written to, with gradients.

        That is one more set of weights; those of the ends are as they were afterwards.
        """
        parameters = dict(self.encoder.model.named_parameters())
        before = {name: parameter.data for name, parameter in parameters.items()}
        try:
            for name, parameter in parameters.items():
                value = self._mixed(name, place) if name in self._held else before[name]
                shared = name not in self._held or _corner(place) is not None
                parameter.data = value.clone() if shared else value
            yield self.encoder
        finally:
            for name, parameter in parameters.items():
                parameter.data = before[name]

    def _mixed(self, name: str, place: Place) -> Tensor:
        """One weight: the end itself where it stands at one, else a tensor of its own."""
        corner = _corner(place)
        return mixed(self._ends[name], place) if corner is None else self._ends[name][corner]

    def _making(self, path: str, place: Place):
        """What makes a block's weights before it computes."""
        return lambda module, args: self._make(path, place)

    def _make(self, path: str, place: Place) -> None:
        """A block's weights in the buffer, unless it still holds them."""
        names = self._blocks[path]
        if not names:
            return
        if self._buffer is None:
            sizes = (sum(self._held[n].numel() for n in inside) for inside in self._blocks.values())
            self._buffer = self._ends[names[0]][0].new_empty(max(sizes))
        begin = 0
        for name in names:
            ends = self._ends[name]
            out = self._buffer[begin : begin + ends[0].numel()].view(ends[0].shape)
            if self._made != (path, place):
                mixed(ends, place, out)
            self._held[name].data = out
            begin += out.numel()
        self._made = (path, place)

    def _looking_up(self, name: str, place: Place):
        def look(ids: Int[Tensor, "..."]) -> Float[Tensor, "... d"]:
            return mixed([nn.functional.embedding(ids, table) for table in self._ends[name]], place)

        return look


def mixed(ends: Sequence[Tensor], place: Place, out: Tensor | None = None) -> Tensor:
    """(1 − α)·θ₀ + α·θ₁; of three ends (1 − s − t)·θ₀ + s·θ₁ + t·θ₂.

    Args:
        ends: of one shape.
        place: α, or a coordinate for every end but the first.
        out: where the result is written.

    >>> ends = [torch.tensor([value]) for value in (1.0, 2.0, 5.0)]
    >>> mixed(ends[:2], 0.25).item(), mixed(ends, (0.5, 0.25)).item()
    (1.25, 2.5)
    """
    if isinstance(place, tuple):
        found = torch.mul(ends[0], 1 - sum(place), out=out)
        for end, share in zip(ends[1:], place, strict=True):
            found.add_(end, alpha=share)
        return found
    start, end = ends
    return torch.lerp(start, end, place, out=out)


def _corner(place: Place) -> int | None:
    """Which end a place is, if it is one.

    >>> _corner(0.0), _corner(1.0), _corner(0.5), _corner((0.0, 1.0)), _corner((1.0, 1.0))
    (0, 1, None, 2, None)
    """
    shares = place if isinstance(place, tuple) else (place,)
    ones = [i for i, share in enumerate(shares, 1) if share == 1]
    if any(share not in (0, 1) for share in shares) or len(ones) > 1:
        return None
    return ones[0] if ones else 0


def _fits(model: str, name: str, held: Tensor | None, value: Tensor) -> None:
    """Raise ModelError where a model has no such weight; the message names both shapes and what to do."""
    if held is None:
        raise ModelError(
            f"{name!r} of shape {tuple(value.shape)} is no weight of {model!r}, so no line leads there; take "
            "checkpoints of one architecture, and merge adapters first, those that can be merged"
        )
    if held.shape != value.shape:
        raise ModelError(
            f"{name!r} has shape {tuple(held.shape)} in {model!r} and {tuple(value.shape)} in the other, so "
            "no line leads there; take checkpoints of one architecture and one size of input"
        )
