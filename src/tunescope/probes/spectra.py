"""Spectra of matrices: how many directions a change uses, and whether it brought new leading ones."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

EPS = float(np.finfo(np.float32).eps)


def stable_rank(sigma: Float[np.ndarray, " r"]) -> float:
    """‖A‖_F² / ‖A‖₂², from the singular values of A, of which one is above zero.

    Source: Rudelson & Vershynin 2007, section 1.

    >>> stable_rank(np.array([2.0, 2.0, 1.0]))
    2.25
    """
    return float(np.square(sigma / sigma.max()).sum())


def left_vectors(weight: Float[Tensor, "out in"]) -> tuple[Float[Tensor, "out r"], Float[Tensor, " r"]]:
    """The left singular vectors of a matrix, leading first, with their singular values; none of zero.

    Of a wide matrix the eigenvectors of W·Wᵀ, in float64: half the time and no less exact.

    >>> vectors, sigma = left_vectors(torch.tensor([[0.0, 0, 0], [0, 0, 2]]))
    >>> vectors.abs().tolist(), sigma.tolist()
    ([[0.0], [1.0]], [2.0])
    """
    out, into = weight.shape
    if out > into:
        vectors, sigma, _ = torch.linalg.svd(weight, full_matrices=False)
    else:
        wide = weight.double()
        squares, ascending = torch.linalg.eigh(wide @ wide.T)
        sigma, vectors = squares.clamp(min=0).sqrt().flip(0), ascending.flip(1)
    there = sigma > sigma.max() * EPS * max(out, into)
    return vectors[:, there].double(), sigma[there].double()


class Spectrum:
    """A weight before tuning, by its singular vectors: what a change of it is held against.

    Args:
        weight: [out, in].
    """

    def __init__(self, weight: Float[Tensor, "out in"]):
        self.weight = weight
        self.left, sigma = left_vectors(weight)
        self.norm = float(sigma[0]) if len(sigma) else 0.0

    def values(self, update: Float[Tensor, "out in"]) -> Float[np.ndarray, " r"]:
        """The singular values of a change that are more than rounding: above eps · max(‖W‖₂, ‖ΔW‖₂).

        W + ΔW is held in float32. What its rounding adds has full rank, and would count where ΔW's is low.

        >>> weight = torch.eye(3)
        >>> Spectrum(weight).values(torch.tensor([[0.5, 0, 0], [0, 1e-9, 0], [0, 0, 0]])).tolist()
        [0.5]
        """
        sigma = torch.linalg.svdvals(update.double()).numpy()
        return sigma[sigma > EPS * max(self.norm, sigma[0])]

    def intruders(self, update: Float[Tensor, "out in"], top: int, threshold: float) -> int:
        """How many of the leading left singular vectors of W + ΔW are like none of W's.

        |{j ≤ top : maxᵢ |cos(u'ⱼ, uᵢ)| < threshold}|, u' of W + ΔW and u of W, those whose singular value is
        zero left out on both sides.

        Source: Shuttleworth et al. 2024 (arXiv 2410.21228), section 3.

        >>> weight = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.0, 0.0]))
        >>> new = torch.zeros(5, 5)
        >>> new[3, 3] = 4.0
        >>> Spectrum(weight).intruders(new, 10, 0.5), Spectrum(weight).intruders(-weight / 2, 10, 0.5)
        (1, 0)
        """
        leading = left_vectors(self.weight + update)[0][:, :top]
        if self.left.shape[1] == 0:
            return leading.shape[1]
        return int(((leading.T @ self.left).abs().amax(1) < threshold).sum())
