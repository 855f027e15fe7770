"""What a client of low-rank tuning holds for one target: two thin matrices, at times with a core between."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tunescope.errors import MethodError

Matrix = Float[np.ndarray, "_ _"]


@dataclass(frozen=True, eq=False)
class Factors:
    """A change of one weight matrix: ΔW = s·B·A, or s·B·R·A where there is a core.

    Source: Hu et al. 2021 (arXiv 2106.09685); the core: Singhal et al. 2025 (arXiv 2502.15436).

    Args:
        a: A, [r, in].
        b: B, [out, r].
        scale: s; LoRA's is α / r.
        core: R, [r, r]; None is the identity.

    Raises:
        MethodError: the shapes do not fit each other.

    >>> change = Factors(np.array([[1.0, 2.0]]), np.array([[3.0], [0.0]]), scale=0.5)
    >>> change.rank, change.product().tolist()
    (1, [[1.5, 3.0], [0.0, 0.0]])
    """

    a: Matrix
    b: Matrix
    scale: float = 1.0
    core: Matrix | None = None

    def __post_init__(self):
        fits = self.a.ndim == self.b.ndim == 2 and self.a.shape[0] == self.b.shape[1]
        if fits and self.core is not None:
            fits = self.core.shape == (self.rank, self.rank)
        if not fits:
            core = "" if self.core is None else f", R {list(self.core.shape)}"
            raise MethodError(
                f"factors that do not fit: A {list(self.a.shape)}, B {list(self.b.shape)}{core}; expected "
                "A [r, in], B [out, r] and R [r, r]"
            )

    @property
    def rank(self) -> int:
        """The r of A [r, in]; the product's own rank may be lower."""
        return self.a.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """[out, in] of the weight that is changed."""
        return self.b.shape[0], self.a.shape[1]

    def folded(self) -> tuple[Matrix, Matrix]:
        """(s·B·R, A) in float64, whose product is the change."""
        a, b = self.a.astype(np.float64), self.b.astype(np.float64)
        return self.scale * (b if self.core is None else b @ self.core.astype(np.float64)), a

    def product(self) -> Matrix:
        """ΔW [out, in] in float64."""
        b, a = self.folded()
        return b @ a

    def norm(self) -> float:
        """‖ΔW‖_F, without making ΔW: of B = Q₁R₁ and Aᵀ = Q₂R₂ it is ‖R₁·R₂ᵀ‖_F.

        >>> Factors(np.array([[3.0, 4.0]]), np.array([[2.0]])).norm()
        10.0
        """
        b, a = self.folded()
        if min(self.shape) == 0 or self.rank == 0:
            return 0.0
        return float(np.linalg.norm(_triangle(b) @ _triangle(a.T).T))


Change = Factors | Matrix  # of one weight matrix, in whichever form is at hand


def dense(change: Change) -> Matrix:
    """ΔW [out, in] in float64.

    >>> dense(np.float32([[1.0, 2.0]])).dtype
    dtype('float64')
    """
    return change.product() if isinstance(change, Factors) else change.astype(np.float64)


def added_up(parts: Sequence[Change], dtype: np.dtype) -> Change:
    """Σ ΔW_i in the form of fewer numbers: factors of rank r while r·(out + in) < out·in, else [out, in].

    Args:
        parts: changes of one weight matrix, added up in float64.
        dtype: of the result; half precision is raised to float32.

    >>> one = Factors(np.ones((1, 9)), np.ones((9, 1)))
    >>> added_up([one] * 4, np.dtype(float)).rank
    4
    >>> added_up([one] * 5, np.dtype(float)).tolist()[0][:2]
    [5.0, 5.0]
    """
    kept, dtype = [part for part in parts if isinstance(part, Factors)], np.result_type(dtype, np.float32)
    out, into = parts[0].shape
    if len(kept) == len(parts) and sum(part.rank for part in kept) * (out + into) < out * into:
        whole = stacked(kept, [1.0] * len(kept))
        return Factors(whole.a.astype(dtype), whole.b.astype(dtype))
    total = np.zeros((out, into))
    for part in parts:
        total += dense(part)
    return total.astype(dtype)


def stacked(parts: Sequence[Factors], weights: Iterable[float]) -> Factors:
    """One pair of factors whose product is Σ_k w_k·s_k·B_k·A_k: B = [B₁ … B_K], A = [w₁s₁A₁; …; w_Ks_KA_K].

    The weight stands on one side only: on both, its square would. The rank is the sum of the parts' ranks.

    Source: Wang et al. 2024 (FLoRA, arXiv 2409.05976).

    >>> one = Factors(np.array([[1.0, 0.0]]), np.array([[1.0]]), scale=2.0)
    >>> stacked([one, one], [0.25, 0.75]).product().tolist()
    [[2.0, 0.0]]
    """
    b, a = [], []
    for part, weight in zip(parts, weights, strict=True):
        made = part.b.astype(np.float64)
        b.append(made if part.core is None else made @ part.core.astype(np.float64))
        a.append(weight * part.scale * part.a.astype(np.float64))
    return Factors(np.concatenate(a, axis=0), np.concatenate(b, axis=1))


def svd(factors: Factors) -> tuple[Matrix, Float[np.ndarray, " k"], Matrix]:
    """The thin singular value decomposition ΔW = U·diag(σ)·Vᵀ, σ falling.

    Where r < min(out, in) ΔW is never made: with B = Q₁R₁ and Aᵀ = Q₂R₂ it is Q₁·(R₁R₂ᵀ)·Q₂ᵀ, and only the
    r × r matrix in the middle is decomposed.

    Returns:
        U [out, k], σ [k], Vᵀ [k, in] with k = min(r, out, in), float64.

    >>> u, sigma, vt = svd(Factors(np.array([[0.0, 2.0]]), np.array([[3.0], [0.0]])))
    >>> sigma.round(12).tolist()
    [6.0]
    """
    b, a = factors.folded()
    if factors.rank >= min(factors.shape):
        return np.linalg.svd(b @ a, full_matrices=False)
    left, inner_left = np.linalg.qr(b)
    right, inner_right = np.linalg.qr(a.T)
    u, sigma, vt = np.linalg.svd(inner_left @ inner_right.T)
    return left @ u, sigma, vt @ right.T


def _triangle(matrix: Matrix) -> Matrix:
    """R of matrix = Q·R, with Q never made."""
    return np.asarray(np.linalg.qr(matrix, mode="r"))
