"""The pooling token's attention by transformers' eager attention, in float64: for penalties on attention."""

import copy
import math

import numpy as np
import torch
from torch import Tensor, nn

from tunescope.data.examples import Examples

PREFIX = {"clip": 1, "siglip": 0, "vit": 1, "dinov2": 1, "dinov2_registers": 5}


def examples(count: int) -> Examples:
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    ids = tuple(str(i) for i in range(count))
    return Examples(images, np.zeros(count, np.int64), ids, ("a", "b"), ("{}",), "train")


def eager(model: nn.Module) -> nn.Module:
    """A float64 copy whose attention is transformers' eager one."""
    model = copy.deepcopy(model).double()
    model.set_attn_implementation("eager")  # pyright: ignore[reportCallIssue]
    return model


def attention_rows(family: str, model: nn.Module, pixels: Tensor) -> list[Tensor]:
    """The pooling token's attention per layer, [examples, heads, keys], in float64."""
    vision = model.get_submodule("vision_model" if family in ("clip", "siglip") else "")
    output = vision(pixel_values=pixels.double(), output_attentions=True)
    if family != "siglip":
        return [attention[:, :, 0] for attention in output.attentions]
    pool = model.get_submodule("vision_model.head.attention")
    assert isinstance(pool, nn.MultiheadAttention)
    assert pool.in_proj_weight is not None
    assert pool.in_proj_bias is not None
    width = pool.embed_dim  # queries' and keys' parts of the packed projection
    weight, bias = pool.in_proj_weight, pool.in_proj_bias
    probe = model.get_parameter("vision_model.head.probe")[0, 0]
    query = (weight[:width] @ probe + bias[:width]).view(4, -1)
    keys = output.last_hidden_state @ weight[width : 2 * width].T + bias[width : 2 * width]
    keys = keys.view(len(pixels), keys.shape[1], 4, -1)
    logits = torch.einsum("hd,bnhd->bhn", query, keys) / math.sqrt(width // 4)
    return [logits.softmax(-1)]


def sharpen(model: nn.Module) -> None:
    """What tuning may leave: every weight a little elsewhere, the last block and the pooling head sharper."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            sharper = "in_proj_weight" in name or "2.attention.q_proj" in name or "2.self_attn.q_proj" in name
            parameter.mul_(3.0 if sharper else 1.0).add_(
                0.02 * torch.randn(parameter.shape, generator=generator)
            )
