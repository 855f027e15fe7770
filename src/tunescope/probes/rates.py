"""How much further apart, or nearer, every component of a tower leaves two inputs than they entered it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import pad

from tunescope.errors import ModelError
from tunescope.models.ablated import Read, reading
from tunescope.models.encoder import TEXT_BATCH, Encoder
from tunescope.models.modelmap import ROLES, Block, module_at

WHOLE = ("norm1", "norm2", "mlp.fc1", "mlp.gate", "mlp.fc2")  # roles; beside them, `attention`

# By layer and component: a rate for each pair, "p"; of attention heads, for each pair and head, "p h".
Rates = dict[tuple[int, str], Float[np.ndarray, "p ..."]]


def rates(
    encoder: Encoder,
    tower: str,
    first: Shaped[np.ndarray, "p ..."],
    second: Shaped[np.ndarray, "p ..."],
    *,
    own: bool,
    batch_size: int = 128,
) -> tuple[Rates, Rates]:
    """‖f(x) − f(y)‖_F / ‖x − y‖_F of each pair and component f, from one forward pass of every input.

    Args:
        encoder: in evaluation mode.
        tower: the one that reads the inputs.
        first: one input of each pair.
        second: the other.
        own: x is what f is given in the model; else what enters the first block, whatever f, and for fc2
            zeros behind it up to the width that fc2 takes.
        batch_size: inputs per forward pass, two for each pair; of texts at most `TEXT_BATCH`.

    Returns:
        of whole components, and of attention heads; NaN where x = y.

    Raises:
        ModelError: a component of the map was not called, or gave what is not finite.
    """
    place = encoder.map.tower(tower)
    size = max(1, (batch_size if place.grid is not None else min(batch_size, TEXT_BATCH)) // 2)
    seen = _Seen(encoder, tower, own)
    for start in range(0, len(first), size):
        with torch.no_grad(), seen.listening():
            encoder.features(np.concatenate([first[start : start + size], second[start : start + size]]))
    return _joined(seen.whole), _joined(seen.heads)


def distances(
    hidden: Float[Tensor, "b n d"], both: Bool[Tensor, "p n"] | None = None, heads: int | None = None
) -> Float[Tensor, "p ..."]:
    """‖x − y‖_F of pairs of token sequences, in float64; of every head's part of them, where there are heads.

    Args:
        hidden: the first of every pair, then the second of every pair; heads' parts stand side by side.
        both: the tokens that count; None = all.
        heads: how many.

    >>> pair = torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    >>> distances(pair).tolist(), distances(pair, heads=2).tolist()
    ([5.0], [[3.0, 4.0]])
    >>> quarter_turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    >>> (distances(7 * pair @ quarter_turn) / distances(pair)).tolist()
    [7.0]
    """
    apart = _apart(hidden, both)
    if heads is None:
        return torch.linalg.vector_norm(apart, dim=(1, 2), dtype=torch.float64)
    return torch.linalg.vector_norm(apart.unflatten(-1, (heads, -1)), dim=(1, 3), dtype=torch.float64)


def _apart(hidden: Float[Tensor, "b n d"], both: Bool[Tensor, "p n"] | None) -> Float[Tensor, "p n d"]:
    x, y = hidden.chunk(2)
    return x - y if both is None else (x - y) * both[..., None]


def _joined(parts: dict[tuple[int, str], list[Tensor]]) -> Rates:
    return {key: torch.cat(found).cpu().numpy() for key, found in parts.items()}


def _rate(left: Float[Tensor, "p ..."], entered: Float[Tensor, "..."]) -> Float[Tensor, "p ..."]:
    if not left.isfinite().all():
        raise ModelError("activations are not finite any more, so their rates of change are not either")
    return torch.where(entered == 0, torch.nan, left / entered)


class _Seen:
    """What forward passes showed, of all pairs so far: of each component, and of each component's heads."""

    def __init__(self, encoder: Encoder, tower: str, own: bool):
        self.whole: dict[tuple[int, str], list[Tensor]] = {}
        self.heads: dict[tuple[int, str], list[Tensor]] = {}
        self._model: nn.Module = encoder.model
        self._place = encoder.map.tower(tower)
        self._own = own
        self._read = Read()
        self._start: Tensor | None = None
        self._entered: dict[tuple[int, str], Tensor] = {}
        self._stack = ExitStack()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hooks for one forward pass.

        Raises:
            ModelError: a component was not called in it.
        """
        self._start = None
        self._entered.clear()
        with ExitStack() as self._stack:
            self._stack.enter_context(reading(self._model, self._place, self._read))
            self._before(self._place.blocks[0].path, self._begin)
            expected = [
                key for layer, block in enumerate(self._place.blocks) for key in self._listen(layer, block)
            ]
            yield
        if missing := [key for key in expected if key not in self._entered]:
            layer, component = missing[0]
            raise ModelError(
                f"{component} of layer {layer} of the {self._place.name} tower was not called, as were "
                f"{len(missing) - 1} more components; expected one forward pass of the whole tower"
            )

    def _listen(self, layer: int, block: Block) -> Iterator[tuple[int, str]]:
        yield layer, "attention"
        self._before(block.attention, partial(self._enter, layer, "attention"))
        for component in "qkv" if block.qkv is None else ():
            self._after(getattr(block, component), partial(self._projected, layer, component))
        if block.qkv is not None:
            self._after(block.qkv, partial(self._projected_at_once, layer))
        self._after(block.o, partial(self._put_out, layer, module_at(self._model, block.o)))
        last = block.attention if block.o.startswith(f"{block.attention}.") else block.o
        self._after(last, partial(self._leave, layer, "attention"))
        for role in WHOLE:
            if (path := getattr(block, ROLES[role])) is not None:
                yield layer, role
                self._before(path, partial(self._enter, layer, role))
                self._after(path, partial(self._leave, layer, role))

    def _before(self, path: str, told: Callable[[Tensor], Tensor]) -> None:
        """Be told what a module is given, and say what it is to be given."""

        def before(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
            if args:
                return (told(args[0]), *args[1:]), kwargs
            return args, kwargs | {"hidden_states": told(kwargs["hidden_states"])}

        hook = module_at(self._model, path).register_forward_pre_hook(before, with_kwargs=True)
        self._stack.callback(hook.remove)

    def _after(self, path: str, told: Callable[[Tensor, Tensor | None], None]) -> None:
        """Be told what a module gave, and of what."""

        def after(module: nn.Module, args: tuple, output: Any) -> None:
            told(output[0] if isinstance(output, tuple) else output, args[0] if args else None)

        self._stack.callback(module_at(self._model, path).register_forward_hook(after).remove)

    def _begin(self, hidden: Tensor) -> Tensor:
        self._start = hidden
        return hidden

    def _enter(self, layer: int, component: str, hidden: Tensor) -> Tensor:
        if not self._own:
            assert self._start is not None
            hidden = pad(self._start, (0, hidden.shape[-1] - self._start.shape[-1]))
        self._entered[layer, component] = self._distances(hidden)
        return hidden

    def _leave(self, layer: int, component: str, output: Tensor, given: Tensor | None) -> None:
        rate = _rate(self._distances(output), self._entered[layer, component])
        self.whole.setdefault((layer, component), []).append(rate)

    def _projected(self, layer: int, component: str, output: Tensor, given: Tensor | None) -> None:
        entered = self._entered[layer, "attention"]
        if (layer, component) not in self._entered:  # DeBERTa projects its positions after its tokens
            self._entered[layer, component] = entered
            left = self._distances(output, self._place.heads)
            self.heads.setdefault((layer, component), []).append(_rate(left, entered[:, None]))

    def _projected_at_once(self, layer: int, output: Tensor, given: Tensor | None) -> None:
        for component, part in zip("qkv", output.chunk(3, -1), strict=True):
            self._projected(layer, component, part, None)

    def _put_out(self, layer: int, module: nn.Module, output: Tensor, given: Tensor | None) -> None:
        """What the heads gave, and each one's part of their projection: linear, whatever it is made of."""
        assert given is not None
        heads = self._place.heads
        gave = self._distances(given, heads)
        entered = self._entered[layer, "attention"][:, None]
        self.heads.setdefault((layer, "attention"), []).append(_rate(gave, entered))
        eye = torch.eye(given.shape[-1], dtype=given.dtype, device=given.device)[None]
        weight = (module.forward(eye) - module.forward(torch.zeros_like(eye[:, :1])))[0]
        apart = _apart(given, self._both(given)).unflatten(-1, (heads, -1))
        parts = [
            torch.linalg.vector_norm(apart[:, :, head] @ part, dim=(1, 2), dtype=torch.float64)
            for head, part in enumerate(weight.chunk(heads))
        ]
        self.heads.setdefault((layer, "o"), []).append(_rate(torch.stack(parts, 1), gave))

    def _distances(self, hidden: Tensor, heads: int | None = None) -> Tensor:
        return distances(hidden, self._both(hidden), heads)

    def _both(self, hidden: Tensor) -> Bool[Tensor, "p n"] | None:
        """Of texts, the positions at which both have a token of their own."""
        if self._place.grid is not None:
            return None
        first, second = self._read.real_in_blocks(hidden.shape[1]).chunk(2)
        return first & second
