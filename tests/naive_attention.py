"""Attention written out, prefix and all, for whole models in float64: the reference for prefix tuning."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from tunescope.models.encoder import Encoder
from tunescope.models.modelmap import module_at

NAME = "written_out"


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """softmax over [prefix; keys], the prefix seen by every query; the rows stay on the module."""
    batch, heads, queries, size = query.shape
    factor = size**-0.5 if scaling is None else scaling
    logits = torch.einsum("bhqd,bhkd->bhqk", query, key) * factor
    if mask is None and (module.is_causal if is_causal is None else is_causal):
        hidden = [[j > i for j in range(key.shape[2])] for i in range(queries)]
        logits = logits.masked_fill(torch.tensor(hidden), -torch.inf)
    elif mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
    given = module.__dict__.get("given_prefix")
    if given is not None:
        keys, values = (each.view(-1, heads, size) for each in given)
        logits = torch.cat([torch.einsum("bhqd,phd->bhqp", query, keys) * factor, logits], -1)
        value = torch.cat([values.permute(1, 0, 2).expand(batch, -1, -1, -1), value], 2)
    module.__dict__["seen_logits"] = logits
    return torch.einsum("bhqk,bhkd->bqhd", logits.softmax(-1), value), None


def model(encoder: Encoder) -> Any:
    """A copy in float64 that attends by `attention`, with the prefixes that the encoder's modules have."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    found = copy.deepcopy(encoder.model).double()
    for tower in encoder.map.towers.values():
        for block in tower.blocks:
            module: Any = module_at(found, block.attention)
            if hasattr(module, "prefix"):
                module.__dict__["given_prefix"] = (module.prefix.key, module.prefix.value)
                module.prefix.active = False
    found.set_attn_implementation(NAME)
    return found


def logits(found: Any, encoder: Encoder, tower: str) -> list[Tensor]:
    """Every block's logits "b h q k" in the last forward pass, prefix first."""
    blocks = encoder.map.tower(tower).blocks
    return [module_at(found, block.attention).__dict__["seen_logits"] for block in blocks]
