"""The forward pass of a ViT and of CLIP's towers, written out in float64: the reference for methods."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tunescope.models.encoder import Encoder

Change = Callable[..., Tensor]
Keys = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]


def pixels(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def plain(encoder: Encoder) -> Any:
    """A copy in float64 of the model as it is now: take it before a method is installed."""
    return copy.deepcopy(encoder.model).double()


@torch.no_grad()
def forward(
    model: Any,
    x: Tensor,
    *,
    tokens: Change = lambda layer, x: x,
    keys: Keys = lambda layer, k, v: (k, v),
    attention: Change = lambda layer, y: y,
    mlp: Change = lambda layer, x, y: y,
    block: Change = lambda layer, x: x,
    end: Change = lambda x: x,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Features, every block's attention "b h q k", and what leaves every block.

    Args:
        model: a ViT or a CLIP.
        x: pixels.
        tokens: changes what enters a block.
        keys: changes a block's keys and values, "b h k d".
        attention: changes what attention's output projection gives.
        mlp: changes what the MLP gives, by what it was given.
        block: changes what leaves a block.
        end: changes what leaves the last block.
    """
    clip = hasattr(model, "visual_projection")
    tower = model.vision_model if clip else model
    x = tower.embeddings(x)
    x = tower.pre_layrnorm(x) if clip else x
    rows, states = [], []
    for layer, part in enumerate(tower.encoder.layers if clip else tower.layers):
        own = part.self_attn if clip else part.attention
        x = tokens(layer, x)
        normed = (part.layer_norm1 if clip else part.layernorm_before)(x)
        q, k, v = (
            project(normed).unflatten(-1, (4, 8)).transpose(1, 2)
            for project in (own.q_proj, own.k_proj, own.v_proj)
        )
        k, v = keys(layer, k, v)
        rows.append((torch.einsum("bhqd,bhkd->bhqk", q, k) / 8**0.5).softmax(-1))
        mixed = torch.einsum("bhqk,bhkd->bqhd", rows[-1], v).flatten(2)
        x = x + attention(layer, (own.out_proj if clip else own.o_proj)(mixed))
        normed = (part.layer_norm2 if clip else part.layernorm_after)(x)
        hidden = part.mlp.activation_fn(part.mlp.fc1(normed))
        x = block(layer, x + mlp(layer, normed, part.mlp.fc2(hidden)))
        states.append(x)
    x = end(x)
    if clip:
        return model.visual_projection(tower.post_layernorm(x[:, 0])), rows, states
    return tower.layernorm(x)[:, 0], rows, states


@torch.no_grad()
def clip_text(
    model: Any,
    ids: Tensor,
    seen: Tensor,
    *,
    tokens: Change = lambda layer, x: x,
    keys: Keys = lambda layer, k, v: (k, v),
    end: Change = lambda x: x,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Features, every block's attention "b h q k", and what leaves every block, of CLIP's text tower.

    Args:
        model: a CLIP.
        ids: of the tokens, "b n".
        seen: which keys each query sees, "b q k".
        tokens: changes what enters a block.
        keys: changes a block's keys and values, "b h k d".
        end: changes what leaves the last block.
    """
    tower = model.text_model
    x = tower.embeddings.token_embedding.weight[ids]
    x = x + tower.embeddings.position_embedding.weight[: ids.shape[1]]
    rows, states = [], []
    for layer, part in enumerate(tower.encoder.layers):
        own = part.self_attn
        x = tokens(layer, x)
        normed = part.layer_norm1(x)
        q, k, v = (
            project(normed).unflatten(-1, (4, 8)).transpose(1, 2)
            for project in (own.q_proj, own.k_proj, own.v_proj)
        )
        k, v = keys(layer, k, v)
        logits = torch.einsum("bhqd,bhkd->bhqk", q, k) / 8**0.5
        rows.append(logits.masked_fill(~seen[:, None], -torch.inf).softmax(-1))
        x = x + own.out_proj(torch.einsum("bhqk,bhkd->bqhd", rows[-1], v).flatten(2))
        hidden = part.mlp.fc1(part.layer_norm2(x))
        x = x + part.mlp.fc2(hidden * torch.sigmoid(1.702 * hidden))  # "quick" GELU
        states.append(x)
    last = (ids == model.config.text_config.eos_token_id).int().argmax(-1)
    x = tower.final_layer_norm(end(x))[torch.arange(len(ids)), last]
    return model.text_projection(x), rows, states


def causal(mask: Tensor) -> Tensor:
    """Which keys each token of a padded text sees: those up to itself that are real, "b n n"."""
    n = mask.shape[1]
    return torch.tensor([[j <= i for j in range(n)] for i in range(n)]) & mask.bool()[:, None, :]


def bottleneck(state: dict[str, Tensor], path: str, x: Tensor, activation: str = "gelu") -> Tensor:
    """W_up · f(W_down · x + b_down) + b_up, with the weights that were saved below `path`."""
    down, b_down, up, b_up = (
        state[f"{path}.{name}"].double() for name in ("down.weight", "down.bias", "up.weight", "up.bias")
    )
    z = torch.einsum("rd,bnd->bnr", down, x) + b_down
    z = z.clamp_min(0) if activation == "relu" else z * (1 + torch.erf(z / 2**0.5)) / 2
    return torch.einsum("dr,bnr->bnd", up, z) + b_up


def stirred(installed: Any) -> dict[str, Tensor]:
    """Values as training might leave them, none of them zero; the model in float64."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in installed.trainable.values():
            parameter.add_(torch.empty_like(parameter).normal_(0, 0.3, generator=generator))
    installed.encoder.model.double()
    return installed.state_dict()
