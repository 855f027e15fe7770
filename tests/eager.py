"""Attention as transformers' eager code gives it, in float64: the reference for the seam."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tunescope.models.encoder import Encoder
from tunescope.models.modelmap import module_at


@dataclass
class Eager:
    """rows[layer] "b h q k", norms[layer] "b h k" (‖v‖); SigLIP's pooling head is one layer more."""

    rows: list[np.ndarray]
    norms: list[np.ndarray]


def eager_model(encoder: Encoder) -> Any:
    model = copy.deepcopy(encoder.model).double()
    if encoder.map.family == "modernbert":
        model.register_forward_pre_hook(_masked_by_hand, with_kwargs=True)
    model.set_attn_implementation("eager")
    return model


def _masked_by_hand(model: Any, args: tuple, given: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """ModernBERT's global and local masks. Its own lowest float64 is −∞ in its float32 softmax: NaN."""
    seen = given["attention_mask"].bool()[:, None, None]
    place = torch.arange(seen.shape[-1])
    near = (place[:, None] - place).abs() <= model.config.local_attention // 2
    masks = {"full_attention": seen.expand(-1, 1, len(place), -1), "sliding_attention": seen & near}
    lowest = {name: torch.where(mask, 0.0, -1e30).double() for name, mask in masks.items()}
    return args, given | {"attention_mask": lowest}


def eager(encoder: Encoder, tower: str, **inputs: torch.Tensor) -> Eager:
    """`inputs` are those of the tower's own forward: pixel_values, or input_ids and attention_mask."""
    model, place = eager_model(encoder), encoder.map.tower(tower)
    values: list[torch.Tensor] = []
    for block in place.blocks:
        projection: Any = module_at(model, block.v or block.qkv or "")
        parts = 1 if block.v else 3  # the values are the last third of a fused projection
        projection.register_forward_hook(
            lambda _module, _inputs, output, parts=parts: values.append(output.chunk(parts, -1)[-1])
        )
    inputs = {name: x.to(model.dtype) if x.is_floating_point() else x for name, x in inputs.items()}
    with torch.no_grad():
        output = module_at(model, place.path)(**inputs, output_attentions=True)
        rows = list(output.attentions)
        if place.pooling == "probe":
            assert place.pooler is not None
            attention = module_at(model, place.pooler)
            assert isinstance(attention, torch.nn.MultiheadAttention)
            probe = module_at(model, place.pooler.rpartition(".")[0]).get_parameter("probe")
            hidden = output.last_hidden_state
            query = probe.repeat(len(hidden), 1, 1)
            rows.append(attention(query, hidden, hidden, average_attn_weights=False)[1])
            width = hidden.shape[-1]
            values.append(
                hidden @ attention.in_proj_weight[2 * width :].T + attention.in_proj_bias[2 * width :]
            )
    assert len(rows) == len(values) == len(place.blocks) + (place.pooling == "probe")
    heads = [value.unflatten(-1, (place.heads, -1)).transpose(1, 2) for value in values]
    return Eager([row.numpy() for row in rows], [head.norm(dim=-1).numpy() for head in heads])


def pooled(encoder: Encoder, tower: str, ids: torch.Tensor | None, example: int) -> int:
    """The query that the tower is read by, spelt out."""
    kind = encoder.map.tower(tower).pooling
    if kind == "eos":
        assert ids is not None
        return ids[example].tolist().index(encoder.model.config.text_config.eos_token_id)
    return {"cls": 0, "last": -1, "probe": 0}[kind]
