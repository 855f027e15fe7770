"""A tower's last block where one token of it is read: of the others only what that one needs is computed."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from tunescope.models.modelmap import Tower, module_at
from tunescope.models.replay import Forwards
from tunescope.models.tap import Call, Products, attention_modules, listening, taken

Row = int | Tensor  # of the token in every example, or in each; from the end


class OneToken:
    """The last block's parts, of the token that the tower is read at; sums with residuals broadcast it.

    What the block gives is right at that token alone, and nothing else is read. The output projection and the
    MLP take one token; so does attention (`OneQuery`) where that is the module's own. Whether it is, the
    first call tells, which computes both: where positions are turned or added in between, where there is a
    prefix or a gate, the module goes on with its own.

    Args:
        model: the model.
        place: a tower that is read at one token.
        row: where that is.
    """

    def __init__(self, model: nn.Module, place: Tower, row: Row):
        self._row, self._heads, block = row, place.heads, place.blocks[-1]
        self._attention, self._o = attention_modules(model, place)[-1], module_at(model, block.o)
        self._own = self._attention.forward
        self._inside = block.o.startswith(f"{block.attention}.")
        self._projections = [block.q, block.k, block.v]
        self._model = model
        self._one_query: OneQuery | None = None
        self._compared = False
        parts = [module_at(model, path) for path in (block.o, block.fc1, block.gate) if path is not None]
        self.forwards: Forwards = [
            (self._attention, self._attend),
            *((part, lambda x, forward=part.forward: forward(token(x, self._row))) for part in parts),
        ]

    def _attend(self, *args: Any, **kwargs: Any) -> Any:
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        if self._one_query is not None:
            return self._given(self._one_query(hidden))
        if self._compared:
            return self._own(*args, **kwargs)
        seen: list[tuple[Call, Tensor]] = []

        def listen(call: Call, output: Tensor) -> Tensor:
            seen.append((call, output))
            return output

        with listening([(self._attention, listen)]):
            whole = self._own(*args, **kwargs)
        self._compared, self._beside = True, whole[1:] if isinstance(whole, tuple) else None
        if seen:  # DeBERTa's attention, which makes its logits otherwise, does not call
            self._one_query = self._agreeing(*seen[0], hidden, whole)
        # Ours from the first call on, so that no bit depends on which call was the first.
        return whole if self._one_query is None else self._given(self._one_query(hidden))

    def _agreeing(self, call: Call, context: Tensor, hidden: Tensor, whole: Any) -> "OneQuery | None":
        """What gives the same as the module gave; None where there is no such thing."""
        paths = [path for path in self._projections if path is not None]
        if len(paths) < 3 or not isinstance(call, Products) or call.key.shape[2] != hidden.shape[1]:
            return None
        q, k, v = (module_at(self._model, path) for path in paths)
        ours = OneQuery(q, k, v, self._heads, call, hidden, self._row)
        found = ours(hidden)
        outputs = [each[0] if isinstance(each, tuple) else each for each in (self._given(found), whole)]
        same = _near(found, token(context, self._row)) and _near(outputs[0], token(outputs[1], self._row))
        return ours if same else None

    def _given(self, context: Float[Tensor, "b 1 c"]) -> Any:
        """What the module gives."""
        # Where the projection stands behind the attention module (BERT), that gives what its heads gave.
        found = self._o(context) if self._inside else context
        return found if self._beside is None else (found, *self._beside)


class OneQuery:
    """One query's attention, without a key or a value being made.

    In each head

        q·kⱼ = (Wₖᵀq)·xⱼ + q·bₖ,    Σⱼ pⱼvⱼ = Wᵥ(Σⱼ pⱼxⱼ) + bᵥ,

    where q·bₖ is the same for all j, so that p does not change without it.

    Args:
        q: the projection of queries; likewise `k`, `v`, linear each.
        heads: how many.
        call: what the module worked with, for the scaling and the mask.
        hidden: what it read.
        row: the query.
    """

    def __init__(
        self,
        q: nn.Module,
        k: nn.Module,
        v: nn.Module,
        heads: int,
        call: Products,
        hidden: Float[Tensor, "b n d"],
        row: Row,
    ):
        self._q, self._heads, self._row, self._scaling = q, heads, row, call.scaling
        self._key = affine(k.forward, hidden)[0].unflatten(1, (heads, -1))
        weight, self._bias = affine(v.forward, hidden)
        self._value = weight.unflatten(1, (heads, -1))
        self._mask = _row_of_mask(call, row)

    def __call__(self, hidden: Float[Tensor, "b n d"]) -> Float[Tensor, "b 1 c"]:
        """What the heads give at the query, side by side."""
        query = self._q(token(hidden, self._row))[:, 0].unflatten(1, (self._heads, -1))
        scores = torch.einsum("bhc,dhc->bhd", query, self._key) @ hidden.transpose(1, 2) * self._scaling
        if self._mask is not None:
            scores = scores + self._mask
        mixed = scores.softmax(-1) @ hidden
        return torch.einsum("bhd,dhc->bhc", mixed, self._value).flatten(1)[:, None] + self._bias


def affine(
    forward: Callable[[Tensor], Tensor], like: Float[Tensor, "b n d"]
) -> tuple[Float[Tensor, "d c"], Float[Tensor, " c"]]:
    """Weight and bias of a linear module, whatever a method has put in its place, from what it does."""
    eye = torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)[None]
    bias = forward(torch.zeros_like(eye[:, :1]))[0, 0]
    return forward(eye)[0] - bias, bias


def token(hidden: Shaped[Tensor, "b n ..."], row: Row) -> Shaped[Tensor, "b 1 ..."]:
    """One token of every example; where there is but one, that."""
    if hidden.shape[1] == 1:
        return hidden
    if isinstance(row, int):
        row = row % hidden.shape[1]
        return hidden[:, row : row + 1]
    return hidden[torch.arange(len(row), device=hidden.device), row][:, None]


def _row_of_mask(call: Products, row: Row) -> Tensor | None:
    """What is added to the query's logits, "b #h n"."""
    count, length, mask = len(call.value), call.value.shape[2], call.mask
    if call.causal:
        mask = torch.ones(length, length, dtype=torch.bool, device=call.value.device).tril()[None, None]
    if mask is None:
        return None
    found = taken(mask.expand(count, mask.shape[1], length, length), row)[:, :, 0]
    if found.dtype == torch.bool:
        return torch.zeros_like(found, dtype=call.value.dtype).masked_fill(~found, -torch.inf)
    return found


def _near(found: Tensor, expected: Tensor) -> bool:
    expected = expected.reshape(found.shape)
    apart = (found - expected).abs().max()
    return bool(apart <= torch.finfo(found.dtype).eps ** 0.5 * expected.abs().max())
