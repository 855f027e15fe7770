"""What one row of attention says: pure functions on probabilities.

A row `a` holds one query's probabilities over N keys, in the last dimension. Everything is computed in the
dtype of its input (float32 or float64), with natural logarithms. `mask` says which keys there are at all;
without it, every one. Entropy and what is built on it are differentiable everywhere, zeros included.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tunescope.errors import ModelError

_ROUNDING = 3e-7  # float32 rows: a uniform row of 100 keys reaches 0.95 at its 95th only up to this


def patches(
    rows: Float[Tensor, "*b n"], prefix_tokens: int
) -> tuple[Float[Tensor, "*b p"], Float[Tensor, "*b"]]:
    """The row over patch tokens alone, renormalised, and the mass that was on what is before them.

    >>> patches(torch.tensor([0.5, 0.3, 0.2]), 1)
    (tensor([0.6000, 0.4000]), tensor(0.5000))
    """
    kept = rows[..., prefix_tokens:]
    return kept / kept.sum(-1, keepdim=True), sink_mass(rows, prefix_tokens)


def patches_of_logits(
    logits: Float[Tensor, "*b n"], prefix_tokens: int
) -> tuple[Float[Tensor, "*b p"], Float[Tensor, "*b"]]:
    """`patches` of the softmax of `logits`, without dividing by a mass that may have underflown to zero.

    >>> collapsed = torch.tensor([200.0, 0.0, 0.0])  # all on [CLS]; the patches are uniform all the same
    >>> patches_of_logits(collapsed, 1)
    (tensor([0.5000, 0.5000]), tensor(1.))
    """
    return logits[..., prefix_tokens:].softmax(-1), sink_mass(logits.softmax(-1), prefix_tokens)


def sink_mass(rows: Float[Tensor, "*b n"], prefix_tokens: int) -> Float[Tensor, "*b"]:
    """Σ over leading keys of aⱼ: attention spent on [CLS] itself, registers, prompts and prefixes.

    Source: Darcet et al. 2023, Vision Transformers Need Registers.

    >>> sink_mass(torch.tensor([0.5, 0.3, 0.2]), 2).item()
    0.800000011920929
    """
    return rows[..., :prefix_tokens].sum(-1)


def entropy(rows: Float[Tensor, "*b n"], mask: Bool[Tensor, "*#b n"] | None = None) -> Float[Tensor, "*b"]:
    """H = −Σ aⱼ ln aⱼ in nats, with 0 ln 0 = 0 and a finite gradient there.

    Source: Zhai et al. 2023, Stabilizing Transformer Training by Preventing Attention Entropy Collapse.

    >>> entropy(torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.0, 1.0, 0.0, 0.0]]))  # ln 4 and 0
    tensor([1.3863, 0.0000])
    """
    there = rows != 0 if mask is None else (rows != 0) & mask  # NaN stays in, and shows
    safe = torch.where(there, rows, 1.0)
    return 0 - (safe * safe.log()).sum(-1)


def entropy_normalised(
    rows: Float[Tensor, "*b n"], mask: Bool[Tensor, "*#b n"] | None = None
) -> Float[Tensor, "*b"]:
    """H / ln N, N the number of keys: 1 for a uniform row.

    Raises:
        ModelError: a row over fewer than two keys, where nothing is chosen.

    >>> entropy_normalised(torch.full((8,), 1 / 8))
    tensor(1.0000)
    """
    if mask is None:
        counted: Tensor | int = rows.shape[-1]
        fewest, scale = counted, math.log(max(counted, 1))
    else:
        counted = mask.sum(-1)
        fewest, scale = int(counted.min()), counted.to(rows.dtype).log()
    if fewest < 2:
        raise ModelError(f"a row over {fewest} key(s) has no normalised entropy; expected at least 2 keys")
    return entropy(rows, mask) / scale


def value_weighted_entropy(
    rows: Float[Tensor, "*b n"],
    value_norms: Float[Tensor, "*#b n"],
    mask: Bool[Tensor, "*#b n"] | None = None,
) -> Float[Tensor, "*b"]:
    """Entropy of aⱼ‖vⱼ‖ / Σ aₖ‖vₖ‖ in nats: a sink with an empty value does not count.

    Source: Kobayashi et al. 2020, Attention is Not Only a Weight, section 3 (the norm ‖aⱼ vⱼ‖).

    >>> value_weighted_entropy(torch.full((3,), 1 / 3), torch.tensor([0.0, 2.0, 2.0]))  # ln 2
    tensor(0.6931)
    """
    weighted = rows * value_norms
    return entropy(weighted / weighted.sum(-1, keepdim=True), mask)


def concentration(
    rows: Float[Tensor, "*b n"], mask: Bool[Tensor, "*#b n"] | None = None, share: float = 0.95
) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """`erf` and `gini` of the same rows, by one descending sort.

    With y the row in descending order and C its cumulative sum,
    ERF = min{k : C_k ≥ share} / N and Gini = 2 Σ C_k / (N Σ yⱼ) − (N+1)/N.

    Raises:
        ModelError: a row that does not sum to `share`, or holds NaN.
    """
    known = rows if mask is None else torch.where(mask, rows, 0.0)
    cumulative = known.sort(-1, descending=True).values.to(torch.float64).cumsum(-1)
    total = cumulative[..., -1:]
    if not bool((total >= share - _ROUNDING).all()):  # NaN compares as False
        bad = total[~(total >= share - _ROUNDING)]
        raise ModelError(
            f"{bad.numel()} of {total.numel()} rows of attention never reach {share:g}: the first sums to "
            f"{bad[0].item():g}; expected probabilities. Has the model diverged?"
        )
    n: Tensor | int = rows.shape[-1] if mask is None else mask.sum(-1)
    needed = (cumulative < share - _ROUNDING).sum(-1) + 1
    if mask is not None:
        place = torch.arange(rows.shape[-1], device=rows.device)
        cumulative = cumulative * (place < mask.sum(-1, keepdim=True))
    gini = 2 * cumulative.sum(-1) / (n * total.squeeze(-1)) - (n + 1) / n
    return (needed / n).to(rows.dtype), gini.to(rows.dtype)


def erf(
    rows: Float[Tensor, "*b n"], share: float = 0.95, mask: Bool[Tensor, "*#b n"] | None = None
) -> Float[Tensor, "*b"]:
    """The effective receptive field: the smallest k whose largest aⱼ sum to ≥ `share`, over N.

    Sums are held against `share` − 3e-7, which is what float32 can tell.

    Raises:
        ModelError: a row that never reaches `share`, or holds NaN.

    >>> erf(torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.0, 1.0, 0.0, 0.0]]), 0.75).tolist()
    [0.75, 0.25]
    """
    return concentration(rows, mask, share)[0]


def gini(rows: Float[Tensor, "*b n"], mask: Bool[Tensor, "*#b n"] | None = None) -> Float[Tensor, "*b"]:
    """Gini coefficient, 2 Σ i·x₍ᵢ₎ / (N Σ x₍ᵢ₎) − (N+1)/N with x ascending: 0 uniform, 1 − 1/N one-hot.

    Raises:
        ModelError: a row that is not one of probabilities.

    >>> gini(torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.0, 1.0, 0.0, 0.0]])).tolist()
    [0.0, 0.75]
    """
    return concentration(rows, mask)[1]


def head_diversity(rows: Float[Tensor, "*b h n"]) -> Float[Tensor, "*b"]:
    """1 − mean over pairs of heads of the cosine of their rows: 0 when all heads look alike.

    In O(H·N): Σ over ordered pairs of uᵢ·uⱼ = ‖Σ uᵢ‖² − Σ ‖uᵢ‖², with u the rows at unit length.

    Raises:
        ModelError: a single head has no pairs.

    >>> head_diversity(torch.eye(3)).item(), head_diversity(torch.full((2, 4), 0.25)).item()
    (1.0, 0.0)
    """
    heads = rows.shape[-2]
    if heads < 2:
        raise ModelError("head diversity of 1 head; expected at least 2")
    unit = rows / rows.norm(dim=-1, keepdim=True)
    ordered_pairs = unit.sum(-2).square().sum(-1) - unit.square().sum((-2, -1))
    return 1 - ordered_pairs / (heads * (heads - 1))


def head_diversity_pooled(rows: Float[Tensor, "b *l h n"]) -> Float[Tensor, "*l"]:
    """`head_diversity` of the rows averaged over examples first.

    >>> two_images_of_opposite_heads = torch.stack([torch.eye(2), torch.eye(2).flip(0)])
    >>> head_diversity_pooled(two_images_of_opposite_heads).round(decimals=6)  # alike on average
    tensor(0.)
    """
    return head_diversity(rows.mean(0))


def distance(rows: Float[Tensor, "*b p p"], grid: tuple[int, int], patch_size: int) -> Float[Tensor, "*b p"]:
    """Attention distance of every query patch: Σⱼ aⱼ · ‖position j − position of the query‖, in pixels.

    Args:
        rows: over patch tokens only, row by row from the top left, for queries and keys alike.
        grid: patches down and across.
        patch_size: pixels.

    Source: Raghu et al. 2021, Do Vision Transformers See Like Convolutional Neural Networks?, section 3.

    >>> distance(torch.full((2, 2), 0.5), (1, 2), 16).tolist()  # half the mass, one patch away
    [8.0, 8.0]
    """
    down = torch.arange(grid[0], device=rows.device, dtype=rows.dtype).repeat_interleave(grid[1])
    across = torch.arange(grid[1], device=rows.device, dtype=rows.dtype).repeat(grid[0])
    if rows.shape[-1] != len(down) or rows.shape[-2] != len(down):
        raise ModelError(f"rows of shape {tuple(rows.shape[-2:])} on a grid of {grid[0]} × {grid[1]} patches")
    apart = torch.hypot(down[:, None] - down, across[:, None] - across) * patch_size
    return (rows * apart).sum(-1)


def rollout(layers: Sequence[Float[Tensor, "*b h n n"]], prefix_tokens: int = 0) -> Float[Tensor, "*b n p"]:
    """Attention rollout: how much of each input token reaches each output token.

    R = Ã_L ⋯ Ã_1 with Ã = (mean over heads of A + I), each row renormalised.

    Args:
        layers: every block's attention, from the input up.
        prefix_tokens: input tokens to leave out; the rest of each row is renormalised.

    Source: Abnar & Zuidema 2020, Quantifying Attention Flow in Transformers, section 3.

    >>> rollout([torch.full((1, 2, 2), 0.5)]).tolist()  # half itself, half the uniform row
    [[0.75, 0.25], [0.25, 0.75]]
    """
    reached = None
    for attention in layers:
        heads = attention.mean(-3)
        mixed = heads + torch.eye(heads.shape[-1], dtype=heads.dtype, device=heads.device)
        mixed = mixed / mixed.sum(-1, keepdim=True)
        reached = mixed if reached is None else mixed @ reached
    if reached is None:
        raise ModelError("rollout of no layers; expected one tensor of attention per block")
    return patches(reached, prefix_tokens)[0] if prefix_tokens else reached
