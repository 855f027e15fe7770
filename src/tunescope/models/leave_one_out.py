"""Every head of a tower taken out in turn, without computing again what stays the same."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from tunescope.errors import ModelError
from tunescope.models.ablated import Means, ablated
from tunescope.models.modelmap import Block, Tower, module_at
from tunescope.models.one_token import OneToken, Row, affine, token
from tunescope.models.pooling import Read, reading
from tunescope.models.replay import Forwards, Output, reading_only, standing_in
from tunescope.models.tap import Call, attention_modules, listening

if TYPE_CHECKING:
    from tunescope.models.encoder import Encoder


class LeaveOneOut:
    """The features of a batch with all heads, and without each.

    Always through the model's own forward pass. What enters block l is kept, and the embeddings and blocks
    before it hand out what they gave instead of computing: with that alone (`shared=False`) the features are
    those of `ablated` bit for bit. Shared, they are equal to rounding (1e-5), because of two savings more:

    - a block's attention is computed once. Its output projection is linear, so without head h, whose output
      z_h becomes m_h, it gives o − (z_h − m_h)·W_h. Where something stands between the projection and the
      block (an adapter), the block is computed again instead;
    - where the tower is read at one token, the last block computes that token (`OneToken`).

    Of L blocks about half are left to compute, and of each block whose heads are taken out the MLP. Nothing
    is computed before it is asked for.

    Memory: at most seven activations "b n d" beside a plain forward pass, however many blocks there are: of
    the embeddings, of the block before, and of the block whose heads are taken out its heads' outputs (twice
    with `means`), their projection with and without a head, and its own output. That is less than twice what
    a forward pass holds at its peak, where an MLP alone has eight or more.

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

    def __init__(
        self,
        encoder: "Encoder",
        tower: str,
        inputs: Shaped[np.ndarray, "b ..."],
        means: Means | None = None,
        *,
        shared: bool = True,
    ):
        from tunescope.models.encoder import TEXT_BATCH

        self._place = place = encoder.map.tower(tower)
        if place.grid is None and len(inputs) > TEXT_BATCH:
            raise ModelError(f"{len(inputs)} texts at once; expected at most {TEXT_BATCH}, one forward pass")
        self._encoder, self._tower, self._inputs, self._means = encoder, tower, inputs, means
        self._shared = shared
        self._model: nn.Module = encoder.model
        self._blocks = [module_at(self._model, block.path) for block in place.blocks]
        self._embeddings = module_at(self._model, place.embeddings)
        self._start = Output(self._embeddings)
        self._read = Read()
        self._tail: Forwards | None = None
        self._begin()

    @cached_property
    def whole(self) -> Float[Tensor, "b d"]:
        """The features with all heads. After the last layer they cost next to nothing, before it a pass."""
        return self._features(*self._entering)

    def without(self, layer: int) -> Iterator[Float[Tensor, "b d"]]:
        """The features without each head of a layer, in order. Layers in ascending order cost the least.

        Raises:
            ModelError: the tower has no such layer.
        """
        place, model, means = self._place, self._model, self._means
        count = len(self._blocks)
        if not 0 <= layer < count:
            raise ModelError(f"no layer {layer} in the {self._tower} tower; expected 0 to {count - 1}")
        if layer < self._known:
            self._begin()
        seen = _Seen(model, place, place.blocks[layer], self._blocks[layer])
        with listening([(attention_modules(model, place)[layer], seen.listen)]), suppress(_Reached):
            self._features(*self._entering, *seen.recording())
        self._entering = [(self._embeddings, self._start.give), *self._entering[1:]]
        last = layer == count - 1
        tail = self._at_one_token()
        if self._shared and seen.linear:
            without = seen.sharing(self._row if last else None, None if means is None else means[layer])
            for head in range(place.heads):
                yield self._features(*self._entering, *tail, *without(head))
        else:
            for head in range(place.heads):
                with ablated(self._encoder, self._tower, layer, head, means):
                    found = self._features(*self._entering, *(() if last else tail))
                yield found
        given = [(module, seen.block.give) for module in self._blocks[: layer + 1]]
        self._entering, self._known = [(self._embeddings, self._start.give), *given], layer + 1

    def _begin(self) -> None:
        """Nothing is known but the inputs."""
        self._known = 0  # the block up to which outputs are given
        self._entering: Forwards = [(self._embeddings, self._start.record)]

    @property
    def _row(self) -> Row | None:
        """The token that the tower is read at, where it is one."""
        if self._place.grid is None:
            return self._read.row
        return 0 if self._place.pooling == "cls" else None

    def _at_one_token(self) -> Forwards:
        if self._tail is None:
            row = self._row
            self._tail = (
                OneToken(self._model, self._place, row).forwards if self._shared and row is not None else []
            )
        return self._tail

    @cached_property
    def _reader(self) -> "Encoder":
        return reading_only(self._encoder, self._inputs)

    def _features(self, *forwards: tuple[nn.Module, Callable[..., Any]]) -> Float[Tensor, "b d"]:
        with torch.no_grad(), standing_in(forwards), reading(self._model, self._place, self._read):
            return self._reader.features(self._inputs)


class _Reached(Exception):
    """The block that was wanted has been run; the forward pass need not go on."""


class _Seen:
    """One block while nothing is taken out: what each of its heads gave, and what became of it."""

    def __init__(self, model: nn.Module, place: Tower, block: Block, module: nn.Module):
        self._heads = place.heads
        self._block = module
        self._attention, self._o = module_at(model, block.attention), module_at(model, block.o)
        self.block, self.attention, self.o = (Output(each) for each in (module, self._attention, self._o))
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
            context, projected = token(context, row), token(projected, row)
        with torch.no_grad():
            weight = affine(self._project, context.flatten(2))[0].unflatten(0, (self._heads, -1))

        def without(head: int) -> Forwards:
            rest = projected - context[:, :, head] @ weight[head]
            # Where the projection stands behind the attention module (BERT), that gives what it gave.
            given = self.attention.give_as(rest) if self._inside else self.attention.whole
            return [(self._attention, lambda *_, **__: given), (self._o, lambda *_, **__: rest)]

        return without
