"""The attention function of every model here: plain SDPA, and a place for listeners to stand.

Transformers looks the function up by name in its `AttentionInterface` and calls it from every attention
module. A listener is attached to the module itself, so two models never share one.
"""

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
_LISTENERS = "_tunescope_listeners"


@dataclass(frozen=True)
class Call:
    """What one attention module asked for: its projected queries, keys and values, and its mask.

    Args:
        query: rotated where the family rotates.
        key: as many heads as the query.
        value: as many heads as the query.
        mask: boolean (True = seen) or float (added to the logits), broadcastable to "b h q k"; None = all
            keys are seen, unless `causal`.
        scaling: factor of the logits.
        causal: query i sees keys 0 … i.
    """

    query: Float[Tensor, "b h q d"]
    key: Float[Tensor, "b h k d"]
    value: Float[Tensor, "b h k d"]
    mask: Tensor | None
    scaling: float
    causal: bool


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

    Without a listener the output is SDPA's own, bit for bit.
    """
    options = {"dropout": dropout, "scaling": scaling, "is_causal": is_causal, **kwargs}
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    listeners = module.__dict__.get(_LISTENERS)
    if not listeners:
        return output, None
    if is_causal is None:
        is_causal = getattr(module, "is_causal", True)  # SDPA's own default
    causal = bool(is_causal) and attention_mask is None and query.shape[2] > 1
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    call = Call(query, key, value, attention_mask, factor, causal)
    for listener in listeners:
        output = listener(call, output)
    return output, None


def register() -> None:
    """Make `NAME` an attention implementation that transformers knows. Doing it again changes nothing."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)  # without it masks arrive as None, silently


def attention_modules(model: nn.Module, tower: Tower) -> list[nn.Module]:
    """The attention module of every block, each known to call this house's attention function.

    Raises:
        ModelError: a block that calls another function would be neither seen nor gated.
    """
    modules = [module_at(model, block.attention) for block in tower.blocks]
    for block, module in zip(tower.blocks, modules, strict=True):
        implementation = getattr(getattr(module, "config", None), "_attn_implementation", None)
        if implementation != NAME:
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

    ℓ = q·Kᵀ · scaling, −∞ where the mask hides the key.

    Args:
        call: what the attention module asked for.
        row: the query wanted: one index, one index per example, or None for every query.
    """
    dtype = torch.promote_types(call.query.dtype, torch.float32)
    with torch.autocast(call.query.device.type, enabled=False):
        query = (call.query if row is None else _take(call.query, row)).to(dtype)
        found = query @ call.key.to(dtype).transpose(-1, -2) * call.scaling
    mask = call.mask
    if call.causal:
        length, width = call.query.shape[2], call.key.shape[2]
        mask = torch.ones(length, width, dtype=torch.bool, device=found.device).tril()[None, None]
    if mask is not None:
        mask = mask if row is None else _take(mask.expand(found.shape[0], *mask.shape[1:]), row)
        if mask.dtype == torch.bool:
            found = found.masked_fill(~mask, -torch.inf)
        else:
            hidden = mask <= torch.finfo(mask.dtype).min / 2
            found = (found + mask.to(dtype)).masked_fill(hidden, -torch.inf)
    return found if row is None else found.squeeze(2)


def value_norms(call: Call) -> Float[Tensor, "b h k"]:
    """‖v_j‖ of every key, per head, at least in float32."""
    return call.value.to(torch.promote_types(call.value.dtype, torch.float32)).norm(dim=-1)


def _take(tensor: Shaped[Tensor, "b h q k"], row: Tensor | int) -> Shaped[Tensor, "b h 1 k"]:
    if isinstance(row, int):
        row = row % tensor.shape[2]
        return tensor[:, :, row : row + 1]
    return tensor[torch.arange(len(row), device=tensor.device), :, row][:, :, None]
