"""Reading rows of attention beside a forward pass: what `watch` hands out, and how it is gathered."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from tunescope.errors import ModelError
from tunescope.models.blockrows import BlockRows, Reducer
from tunescope.models.modelmap import Tower
from tunescope.models.pooling import Read, attention_pool, pool_value_norms, reading
from tunescope.models.tap import Call, attention_modules, listening, logits, value_norms

if TYPE_CHECKING:
    from tunescope.models.encoder import Encoder


class Seen:
    """What one forward pass showed. Read it after the forward pass, inside the context or after it.

    Attributes:
        layers: the layer index of each row: 0 … blocks − 1, or `len(blocks)` for an attention pooling head.
        prefix_tokens: keys before the patches, or before a text's own tokens, in every row: [CLS] and
            registers of images, prompts, and keys that prefix tuning adds (−∞ in a block that has none).
        reduced: what `reduce` returned, by block (`rows="all"`).
    """

    def __init__(self, tower: Tower, layers: tuple[int, ...], values: bool, grad: bool):
        self.tower = tower.name
        self.prefix_tokens = tower.leading_keys
        self.layers = layers
        self.reduced: dict[int, Any] = {}
        self._prefix_keys = tower.prefix_keys
        self._prompts = tower.prefix_tokens if tower.grid is None else 0
        self._values = values
        self._grad = grad
        self._logits: dict[int, Tensor] = {}
        self._value_norms: dict[int, Tensor] = {}
        self._called: set[int] = set()
        self._wants_graph = grad and torch.is_grad_enabled()
        self._read = Read()

    @property
    def logits(self) -> Float[Tensor, "l b h n"]:
        """Scaled, masked logits of the pooling token's row; −∞ where a key is hidden (`rows="pool"`)."""
        return self._stacked(self._logits, 'logits; watch with rows="pool"')

    @property
    def rows(self) -> Float[Tensor, "l b h n"]:
        """Attention probabilities of the pooling token: softmax of `logits`."""
        return self.logits.softmax(-1)

    @property
    def mask(self) -> Bool[Tensor, "l b h n"]:
        """Which keys the pooling token sees."""
        return self.logits > -torch.inf

    @property
    def value_norms(self) -> Float[Tensor, "l b h n"]:
        """‖v_j‖ of every key, per head (`values=True`)."""
        return self._stacked(self._value_norms, 'value norms; watch with rows="pool", values=True')

    def verify(self) -> None:
        """Every layer was called once.

        Raises:
            ModelError: some were not, so the rows would be incomplete.
        """
        missing = sorted(set(self.layers) - self._called)
        if missing:
            raise ModelError(
                f"the watched {self.tower} tower did not call the attention of layers {missing} (of "
                f"{len(self.layers)}); expected one forward pass of the whole tower inside `watch`"
            )

    def _stacked(self, found: dict[int, Tensor], what: str) -> Tensor:
        self.verify()
        if not found:
            raise ModelError(f"this watch of the {self.tower} tower kept no {what}")
        return torch.stack([found[layer] for layer in self.layers])

    def _enter(self, layer: int) -> bool:
        """Whether this call is to be recorded, rather than a repetition during the backward pass."""
        # Gradient checkpointing runs a block a second time while autograd is at work.
        if torch._C._current_graph_task_id() != -1:
            return False
        if layer in self._called:
            raise ModelError(
                f"layer {layer} of the {self.tower} tower was called twice inside one `watch`; expected one "
                "forward pass: open one `watch` for each batch"
            )
        if self._wants_graph and not torch.is_grad_enabled():
            raise ModelError(
                f"layer {layer} of the {self.tower} tower ran without gradients inside `watch(grad=True)`: "
                "under torch.no_grad, or under reentrant gradient checkpointing; "
                "expected use_reentrant=False"
            )
        self._called.add(layer)
        return True

    def _pool(self, layer: int, call: Call, output: Tensor) -> Tensor:
        record = self._enter(layer)
        if record or self._grad:  # a recomputation must save the tensors that the first pass saved
            with torch.set_grad_enabled(self._grad and torch.is_grad_enabled()):
                found = self._laid_out(output, logits(call, self._read.row), -torch.inf)
                norms = self._laid_out(output, value_norms(call), 0.0) if self._values else None
            if record:
                self._keep(layer, found, norms)
        return output

    def _reduce(self, reduce: Reducer, layer: int, call: Call, output: Tensor) -> Tensor:
        record = self._enter(layer)
        if record or self._grad:
            with torch.set_grad_enabled(self._grad and torch.is_grad_enabled()):
                found = self._laid_out(output, logits(call, None), -torch.inf)
                real = self._read.real
                if real is None:
                    real = found.new_ones(found.shape[0], found.shape[2], dtype=torch.bool)
                if self._prompts:
                    found, real = _moved(found, self._prompts, 2), F.pad(real, (self._prompts, 0))
                norms = self._laid_out(output, value_norms(call), 0.0) if self._values else None
                reduced = reduce(BlockRows(layer, found, real, norms))
            if record:
                self.reduced[layer] = reduced
        return output

    def _laid_out(self, output: Tensor, found: Tensor, missing: float) -> Tensor:
        """The keys of a block as all rows of the tower have them: prefix, prompts, the input's own."""
        if self._prefix_keys:
            absent = self._prefix_keys + output.shape[1] - found.shape[-1]
            found = F.pad(found, (absent, 0), value=missing)
        return _moved(found, self._prompts, -1) if self._prompts else found

    def _keep(self, layer: int, found: Tensor, norms: Tensor | None) -> None:
        self._logits[layer] = found
        if norms is not None:
            self._value_norms[layer] = norms


def _moved(found: Tensor, prompts: int, dim: int) -> Tensor:
    """The prompts of a text, which stand behind its first token, before it."""
    first, ours, rest = found.split([1, prompts, found.shape[dim] - 1 - prompts], dim)
    return torch.cat([ours, first, rest], dim)


@contextmanager
def watch(
    encoder: "Encoder",
    tower: str,
    rows: Literal["pool", "all"] = "pool",
    *,
    values: bool = False,
    grad: bool = False,
    reduce: Reducer | None = None,
) -> Iterator[Seen]:
    """Look at the attention of one tower during one forward pass, whose output does not change by a bit.

    With `rows="pool"` only the pooling token's row is computed, in O(N): [CLS]; the token that a text is
    pooled at; or, where an attention head pools (SigLIP), that head's probe row, as one layer of index
    `len(blocks)`. With `rows="all"` every row of a block is computed and given to `reduce` at once, so
    that never more than one block's rows are held.

    Contexts nest: several watches and gates see the same forward pass. With gradient checkpointing (not
    reentrant) the backward pass belongs inside the context.

    Args:
        encoder: a loaded encoder.
        tower: `vision` or `text`.
        rows: which queries.
        values: also keep ‖v_j‖.
        grad: keep the graph, for a penalty on the rows.
        reduce: for `rows="all"`, what to keep of a block; its results are in `seen.reduced`.

    Raises:
        ModelError: a layer was called not at all or twice; the tower has no pooling row.
    """
    if (rows == "all") != (reduce is not None):
        raise ModelError('`reduce` goes with rows="all", and rows="all" needs it')
    place = encoder.map.tower(tower)
    model: nn.Module = encoder.model
    with ExitStack() as stack:
        if rows == "pool" and place.pooling == "probe":
            seen = Seen(place, (len(place.blocks),), values, grad)
            stack.enter_context(_probing(model, place, seen))
        else:
            modules = attention_modules(model, place)
            seen = Seen(place, tuple(range(len(modules))), values, grad)
            if place.grid is None:
                stack.enter_context(reading(model, place, seen._read))
            elif rows == "pool":
                if place.pooling != "cls":
                    raise ModelError(
                        f"the {tower} tower of {encoder.map.family} pools by {place.pooling!r} and has no "
                        "pooling row; use rows='all'"
                    )
                seen._read.row = 0
            look = seen._pool if reduce is None else partial(seen._reduce, reduce)
            stack.enter_context(listening([(module, partial(look, i)) for i, module in enumerate(modules)]))
        yield seen
        seen.verify()


@contextmanager
def _probing(model: nn.Module, place: Tower, seen: Seen) -> Iterator[None]:
    """Have the pooling head return its weights, and keep them as one layer."""
    pool, layer = attention_pool(model, place), len(place.blocks)
    assert place.grid is not None
    tokens = place.leading_keys + place.grid[0] * place.grid[1]

    def before(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        return args, {**kwargs, "need_weights": True, "average_attn_weights": False}

    def after(module: nn.MultiheadAttention, args: tuple, kwargs: dict[str, Any], output: tuple) -> None:
        if not seen._enter(layer):
            return
        with torch.set_grad_enabled(seen._grad and torch.is_grad_enabled()):
            weights: Tensor = output[1][:, :, 0]
            weights = weights.to(torch.promote_types(weights.dtype, torch.float32))
            # The head gives probabilities; the floor keeps an underflown one from reading as masked.
            found = weights.clamp_min(torch.finfo(weights.dtype).tiny).log()
            norms = pool_value_norms(module, args[2]) if seen._values else None
            # The rows of a tower share one layout: prompts and prefixes, which the head does not see, are
            # masked keys.
            unseen = max(0, tokens - found.shape[-1])
            found = F.pad(found, (unseen, 0), value=-torch.inf)
            norms = None if norms is None else F.pad(norms, (unseen, 0))
        seen._keep(layer, found, norms)

    first = pool.register_forward_pre_hook(before, with_kwargs=True)
    last = pool.register_forward_hook(after, with_kwargs=True)
    try:
        yield
    finally:
        first.remove()
        last.remove()
