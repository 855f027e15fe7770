"""The attention function of every model here: plain SDPA, and a place for listeners and prefixes to stand.

Transformers looks the function up by name in its `AttentionInterface` and calls it from every attention
module. Listeners, and keys and values of no token, are attached to the module itself, so two models never
share them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tunescope.errors import ModelError
from tunescope.models.modelmap import Tower, module_at

NAME = "tunescope"
PREFIX = "prefix"  # the submodule, of an attention module, that gives keys and values of no token
TAPPED = "_tunescope_tapped"  # marks modules that do not dispatch and call their listeners all the same
_LISTENERS = "_tunescope_listeners"


@dataclass(frozen=True)
class Call(ABC):
    """What one attention module worked with.

    Args:
        value: as many heads as there are queries'.
        mask: boolean (True = seen) or float (added to the logits), broadcastable to "b h q k"; None = all
            keys are seen, unless `causal`.
        causal: query i sees keys 0 … i.
    """

    value: Float[Tensor, "b h k d"]
    mask: Tensor | None
    causal: bool

    @abstractmethod
    def scores(self, row: Tensor | int | None) -> Float[Tensor, "b h q k"]:
        """Scaled logits before the mask, at least float32: of every query, or of one for each example."""


@dataclass(frozen=True)
class Products(Call):
    """A call of the attention function: its logits are q·Kᵀ · scaling.

    Args:
        query: rotated where the family rotates.
        key: as many heads as the query; a prefix, where there is one, in front and not rotated.
        scaling: factor of the logits.
    """

    query: Float[Tensor, "b h q d"]
    key: Float[Tensor, "b h k d"]
    scaling: float

    def scores(self, row: Tensor | int | None) -> Float[Tensor, "b h q k"]:
        """q·Kᵀ · scaling."""
        dtype = torch.promote_types(self.query.dtype, torch.float32)
        query = self.query if row is None else taken(self.query, row)
        return query.to(dtype) @ self.key.to(dtype).transpose(-1, -2) * self.scaling


# Sees a call and its output "b q h d", and returns the output that the model goes on with.
Listener = Callable[[Call, Tensor], Tensor]


def attention(
    module: nn.Module,
    query: Float[Tensor, "b h q d"],
    key: Float[Tensor, "b h k d"],
    value: Float[Tensor, "b h k d"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    **kwargs,
) -> tuple[Float[Tensor, "b q h d"], None]:
    """SDPA as transformers calls it, then the module's listeners in the order they came.

    Without a listener and a prefix it is SDPA itself. A prefix, a submodule `PREFIX` that is `active` and
    returns keys and values "h p d", stands before the module's own; every query sees all of it.
    """
    options = {"dropout": dropout, "scaling": scaling, **kwargs}
    prefix = module._modules.get(PREFIX)
    if prefix is not None and not prefix.active:
        prefix = None
    if prefix is None and not listened(module):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, is_causal=is_causal, **options
        )
    if is_causal is None:
        is_causal = getattr(module, "is_causal", True)  # SDPA's own default
    causal = bool(is_causal) and attention_mask is None and query.shape[2] > 1
    if prefix is not None:
        keys, values = prefix()
        attention_mask = _with_prefix_seen(attention_mask, query, key, keys.shape[1], causal)
        key, value, causal = _behind(keys, key), _behind(values, value), False
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, is_causal=causal, **options)
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    call = Products(value, attention_mask, causal, query, key, factor)
    return heard(module, call, output), None


def heard(module: nn.Module, call: Call, output: Float[Tensor, "b q h d"]) -> Float[Tensor, "b q h d"]:
    """What a call gives once the module's listeners, in the order they came, have seen it."""
    for listener in module.__dict__.get(_LISTENERS, ()):
        output = listener(call, output)
    return output


def listened(module: nn.Module) -> bool:
    """Whether somebody listens to an attention module."""
    return _LISTENERS in module.__dict__


def _behind(prefix: Float[Tensor, "h p d"], own: Float[Tensor, "b h k d"]) -> Float[Tensor, "b h p+k d"]:
    return torch.cat([prefix.to(own.dtype).expand(len(own), -1, -1, -1), own], 2)


def _with_prefix_seen(
    mask: Tensor | None, query: Tensor, key: Tensor, count: int, causal: bool
) -> Tensor | None:
    """The mask with `count` keys in front that are hidden from no query."""
    width = key.shape[2]
    if causal:
        mask = torch.ones(query.shape[2], width, dtype=torch.bool, device=query.device).tril()[None, None]
    if mask is None:
        return None
    seen = mask.new_full((*mask.shape[:-1], count), mask.dtype == torch.bool)  # True, or 0 to be added
    return torch.cat([seen, mask.expand(*mask.shape[:-1], width)], -1)


def register() -> None:
    """Make `NAME` an attention implementation that transformers knows. Doing it again changes nothing."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)  # without it masks arrive as None, silently


def dispatches(module: nn.Module) -> bool:
    """Whether an attention module calls this house's attention function."""
    return getattr(getattr(module, "config", None), "_attn_implementation", None) == NAME


def attention_modules(model: nn.Module, tower: Tower) -> list[nn.Module]:
    """The attention module of every block, each known to call this house's attention function.

    Raises:
        ModelError: a block that calls another function would be neither seen nor gated.
    """
    modules = [module_at(model, block.attention) for block in tower.blocks]
    for block, module in zip(tower.blocks, modules, strict=True):
        implementation = getattr(getattr(module, "config", None), "_attn_implementation", None)
        if implementation != NAME and TAPPED not in module.__dict__:
            raise ModelError(
                f"{block.attention} ({type(module).__name__}) uses attention implementation "
                f"{implementation!r}, expected {NAME!r}; call tunescope.models.seam.install(model, map), and "
                "do not set another implementation afterwards"
            )
    return modules


@contextmanager
def listening(pairs: list[tuple[nn.Module, Listener]]) -> Iterator[None]:
    """Attach each listener to its attention module for the length of the context."""
    for module, listener in pairs:
        module.__dict__[_LISTENERS] = (*module.__dict__.get(_LISTENERS, ()), listener)
    try:
        yield
    finally:
        for module, listener in pairs:
            rest = tuple(other for other in module.__dict__[_LISTENERS] if other is not listener)
            module.__dict__[_LISTENERS] = rest
            if not rest:
                del module.__dict__[_LISTENERS]


def logits(call: Call, row: Tensor | int | None) -> Float[Tensor, "b h *q k"]:
    """Attention logits, scaled and masked, at least in float32 whatever autocast says.

    −∞ where the mask hides the key. Where a family gives its probabilities (DeBERTa), their logarithms:
    the same up to a constant in each row.

    Args:
        call: what the attention module worked with.
        row: the query wanted: one index, one index per example, or None for every query.
    """
    with torch.autocast(call.value.device.type, enabled=False):
        found = call.scores(row)
    mask = call.mask
    if call.causal:
        length = call.value.shape[2]
        mask = torch.ones(length, length, dtype=torch.bool, device=found.device).tril()[None, None]
    if mask is not None:
        mask = mask if row is None else taken(mask.expand(found.shape[0], *mask.shape[1:]), row)
        if mask.dtype == torch.bool:
            found = found.masked_fill(~mask, -torch.inf)
        else:
            hidden = mask <= torch.finfo(mask.dtype).min / 2
            found = (found + mask.to(found.dtype)).masked_fill(hidden, -torch.inf)
    return found if row is None else found.squeeze(2)


def value_norms(call: Call) -> Float[Tensor, "b h k"]:
    """‖v_j‖ of every key, per head, at least in float32."""
    return call.value.to(torch.promote_types(call.value.dtype, torch.float32)).norm(dim=-1)


def taken(tensor: Shaped[Tensor, "b h q k"], row: Tensor | int) -> Shaped[Tensor, "b h 1 k"]:
    """One query of every example."""
    if isinstance(row, int):
        row = row % tensor.shape[2]
        return tensor[:, :, row : row + 1]
    return tensor[torch.arange(len(row), device=tensor.device), :, row][:, :, None]
