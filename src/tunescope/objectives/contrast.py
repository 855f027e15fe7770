"""Losses of images against captions, from the logits of every pair of a batch."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def info_nce(logits: Float[Tensor, "b b"], positives: Bool[Tensor, "b b"]) -> Float[Tensor, ""]:
    """CLIP's loss: half of (cross-entropy from each image over the texts + from each text over the images).

    ℓ = −1/(2b) · Σ_i [ Σ_{k ∈ P(i)} ln softmax_k(z_i·) / |P(i)| + Σ_{k ∈ P(i)} ln softmax_k(z_·i) / |P(i)| ]

    Sources: Radford et al. 2021 (arXiv 2103.00020), figure 3, where P(i) = {i}; several positives as in UniCL
    (Yang et al. 2022, arXiv 2204.03610), section 3.2, which is Khosla et al. 2020 (arXiv 2004.11362),
    equation 2, between images and texts.

    Args:
        logits: z, image i (row) with text k (column).
        positives: which pairs belong together, symmetric, each image with one text at least.

    >>> round(info_nce(torch.zeros(4, 4), torch.eye(4).bool()).item(), 4)  # uniform: ln 4
    1.3863
    """
    target = positives.to(logits.dtype)
    target = target / target.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def sigmoid_pairs(logits: Float[Tensor, "b b"], positives: Bool[Tensor, "b b"]) -> Float[Tensor, ""]:
    """SigLIP's loss: every pair by itself, −1/b · Σ_ik ln σ(±z_ik), + where image and text belong together.

    Source: Zhai et al. 2023 (arXiv 2303.15343), section 3.2.

    Args:
        logits: z, image i (row) with text k (column), the bias among them.
        positives: which pairs belong together.

    >>> round(sigmoid_pairs(torch.zeros(3, 3), torch.eye(3).bool()).item(), 4)  # three pairs each: 3 ln 2
    2.0794
    """
    return -F.logsigmoid(torch.where(positives, logits, -logits)).sum() / len(logits)
