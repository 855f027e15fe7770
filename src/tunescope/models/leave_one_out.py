"""Every head of a tower taken out in turn, without computing again what stays the same."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from tunescope.errors import ModelError
from tunescope.models.ablated import Means, Read, ablated, reading
from tunescope.models.modelmap import Block, Tower, module_at
from tunescope.models.tap import Call, attention_modules, listening

if TYPE_CHECKING:
    from tunescope.models.encoder import Encoder

Forwards = Sequence[tuple[nn.Module, Callable[..., Any]]]


class Ablated(NamedTuple):
    """The features of one batch without one head; with all of them where `layer` and `head` are None."""

    layer: int | None
    head: int | None
    features: Float[Tensor, "b d"]


def leave_one_out(
    encoder: "Encoder",
    tower: str,
    inputs: Shaped[np.ndarray, "b ..."],
    means: Means | None = None,
    *,
    shared: bool = True,
) -> Iterator[Ablated]:
    """The features of a batch with all heads, then without each head, layer by layer.

    Always through the model's own forward pass. What enters block l is kept, and the embeddings and blocks
    before it hand out what they gave instead of computing: with that alone (`shared=False`) the features are
    those of `ablated` bit for bit. Shared, they are equal to rounding (1e-5), because of two savings more:

    - a block's attention is computed once. Its output projection is linear, so without head h, whose output
      z_h becomes m_h, it gives o − (z_h − m_h)·W_h. Where something stands between the projection and the
      block (an adapter), the block is computed again instead;
    - where the tower is read at one token, the last block's output projection and MLP compute that token.

    Of L blocks about half are left to compute. Beside a plain forward pass at most seven activations "b n d"
    are held, however many blocks there are: of the embeddings, of the block before, and of the block whose
    heads are taken out its heads' outputs (twice with `means`), their projection with and without a head,
    and its own output.

    Args:
        encoder: a loaded encoder, in evaluation mode.
        tower: `vision` or `text`: the one that reads the inputs.
        inputs: images, or at most `TEXT_BATCH` texts, which are one forward pass.
        means: what a head's output becomes, as `head_means` gives it; None is zero.
        shared: whether the last two savings are made.

    Raises:
        ModelError: more texts than one forward pass takes.

    Source: Michel et al. 2019 (arXiv 1905.10650), section 2.2, for taking out one head at a time.
    """
    from tunescope.models.encoder import TEXT_BATCH

    place = encoder.map.tower(tower)
    if place.grid is None and len(inputs) > TEXT_BATCH:
        raise ModelError(f"{len(inputs)} texts at once; expected at most {TEXT_BATCH}, one forward pass")
    model: nn.Module = encoder.model
    embeddings = module_at(model, place.embeddings)
    blocks = [module_at(model, block.path) for block in place.blocks]

    def features(*forwards: tuple[nn.Module, Callable[..., Any]]) -> Float[Tensor, "b d"]:
        with torch.no_grad(), _standing_in(forwards):
            return encoder.features(inputs)

    read, start = Read(), _Output(embeddings)
    with reading(model, place, read):
        whole = features((embeddings, start.record))
    yield Ablated(None, None, whole)
    row = read.row if place.grid is None else (0 if place.pooling == "cls" else None)
    tail = _at_one_token(model, place, row) if shared else []
    entering: list[tuple[nn.Module, Callable[..., Any]]] = [(embeddings, start.give)]
    for layer, block in enumerate(place.blocks):
        last = layer == len(blocks) - 1
        seen = _Seen(model, place, block, blocks[layer])
        with listening([(attention_modules(model, place)[layer], seen.listen)]), suppress(_Reached):
            features(*entering, *seen.recording())
        if shared and seen.linear:
            without = seen.sharing(row if last else None, None if means is None else means[layer])
            for head in range(place.heads):
                found = features(*entering, *tail, *without(head))
                yield Ablated(layer, head, found)
        else:
            for head in range(place.heads):
                with ablated(encoder, tower, layer, head, means):
                    found = features(*entering, *tail)
                yield Ablated(layer, head, found)
        entering = [(embeddings, start.give), *((module, seen.block.give) for module in blocks[: layer + 1])]


class _Reached(Exception):
    """The block that was wanted has been run; the forward pass need not go on."""


class _Output:
    """What one module's own forward gave, without what hooks make of it: they act again when it is given."""

    def __init__(self, module: nn.Module):
        self._forward = module.forward
        self.whole: Any = None

    @property
    def tensor(self) -> Tensor:
        return self.whole[0] if isinstance(self.whole, tuple) else self.whole

    def record(self, *args: Any, **kwargs: Any) -> Any:
        self.whole = self._forward(*args, **kwargs)
        return self.whole

    def give(self, *args: Any, **kwargs: Any) -> Any:
        return self.whole

    def give_as(self, tensor: Tensor) -> Any:
        return (tensor, *self.whole[1:]) if isinstance(self.whole, tuple) else tensor


class _Seen:
    """One block while nothing is taken out: what each of its heads gave, and what became of it."""

    def __init__(self, model: nn.Module, place: Tower, block: Block, module: nn.Module):
        self._heads = place.heads
        self._block = module
        self._attention, self._o = module_at(model, block.attention), module_at(model, block.o)
        self.block, self.attention, self.o = (_Output(each) for each in (module, self._attention, self._o))
        self._project = self._o.forward
        self._inside = block.o.startswith(f"{block.attention}.")
        self._context: Tensor | None = None

    def listen(self, call: Call, output: Float[Tensor, "b n h d"]) -> Tensor:
        self._context = output
        return output

    def recording(self) -> Forwards:
        def stop(*args: Any, **kwargs: Any) -> Any:
            self.block.record(*args, **kwargs)
            raise _Reached

        return [(self._attention, self.attention.record), (self._o, self.o.record), (self._block, stop)]

    @property
    def linear(self) -> bool:
        """Whether the block goes on with what the projection gave, and nothing more."""
        return not self._inside or torch.equal(self.attention.tensor, self.o.tensor)

    def sharing(
        self, row: int | Tensor | None, means: Float[Tensor, "#n h d"] | None
    ) -> Callable[[int], Forwards]:
        """The forwards that stand in where one head is taken out, of one token where a row is named."""
        assert self._context is not None
        context = self._context if means is None else self._context - means.to(self._context.dtype)
        projected = self.o.tensor
        if row is not None:
            context, projected = _token(context, row), _token(projected, row)
        weight = self._weight(context.flatten(2)).unflatten(0, (self._heads, -1))

        def without(head: int) -> Forwards:
            rest = projected - context[:, :, head] @ weight[head]
            # Where the projection stands behind the attention module (BERT), that gives what it gave.
            given = self.attention.give_as(rest) if self._inside else self.attention.whole
            return [(self._attention, lambda *_, **__: given), (self._o, lambda *_, **__: rest)]

        return without

    def _weight(self, like: Float[Tensor, "b n c"]) -> Float[Tensor, "c d"]:
        """The matrix of the projection, whatever a method has put in its place, from what it does."""
        eye = torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)[None]
        with torch.no_grad():
            return (self._project(eye) - self._project(torch.zeros_like(eye[:, :1])))[0]


def _at_one_token(model: nn.Module, place: Tower, row: int | Tensor | None) -> Forwards:
    """The last block's parts that act token by token, reading one token: sums with residuals broadcast it.

    What the block gives is right at that token alone, and nothing else is read.
    """
    if row is None:
        return []
    block = place.blocks[-1]
    found: list[tuple[nn.Module, Callable[..., Any]]] = []
    for path in (block.o, block.fc1, block.gate):
        if path is not None:
            module = module_at(model, path)
            found.append((module, lambda x, forward=module.forward: forward(_token(x, row))))
    return found


def _token(hidden: Shaped[Tensor, "b n ..."], row: int | Tensor) -> Shaped[Tensor, "b 1 ..."]:
    """One token of every example."""
    if isinstance(row, int):
        row = row % hidden.shape[1]
        return hidden[:, row : row + 1]
    return hidden[torch.arange(len(row), device=hidden.device), row][:, None]


@contextmanager
def _standing_in(forwards: Forwards) -> Iterator[None]:
    """Let each module compute by another function, its hooks as they are."""
    found: list[tuple[nn.Module, Any]] = []
    try:
        for module, forward in forwards:
            found.append((module, module.__dict__.get("forward")))
            module.forward = forward
        yield
    finally:
        for module, before in reversed(found):
            if before is None:
                del module.forward
            else:
                module.forward = before
