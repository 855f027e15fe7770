"""How alike two sets of representations are, and how spread out one is. Pure functions, in float64."""

import numpy as np
from jaxtyping import Float

OUTLIER = 6.0  # robust standard deviations above the median


def cka(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n e"]) -> float:
    """Debiased linear CKA: HSIC(K, L) / √(HSIC(K, K) · HSIC(L, L)), K = XXᵀ, L = YYᵀ.

    HSIC is the unbiased estimator: with K̃, L̃ the Gram matrices without their diagonals,

    [tr(K̃L̃) + 1ᵀK̃1 · 1ᵀL̃1 / ((n−1)(n−2)) − 2/(n−2) · 1ᵀK̃L̃1] / (n(n−3)).

    Invariant to rotations, to isotropic scaling and to shifts of either side. Unlike the biased estimator it
    stays near 0 for unrelated representations where there are more dimensions than examples.

    Args:
        x: representations of n ≥ 4 examples.
        y: other representations of the same examples.

    Returns:
        −1 … 1, and exactly 1 for equal ones; NaN where either side is the same for every example, or is not
        finite.

    Raises:
        ValueError: fewer than four examples, for which the estimator is not defined.

    Source: Song et al. 2012, eq. 5; Nguyen et al. 2021 (arXiv 2010.15327), eq. 3.

    >>> x = np.array([[0.0, 0], [1, 0], [0, 2], [3, 1], [1, 4]])
    >>> cka(x, x), round(cka(x, 7 - 2 * x[:, ::-1]), 12)
    (1.0, 1.0)
    """
    if len(x) < 4:
        raise ValueError(f"debiased CKA is not defined for {len(x)} examples; expected at least 4")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("nan")
    x, y = centred(x), centred(y)
    scale = np.sqrt(max(_hsic(x, x), 0.0) * max(_hsic(y, y), 0.0))
    return float(np.clip(_hsic(x, y) / scale, -1, 1)) if scale > 0 else float("nan")


def _hsic(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n e"]) -> float:
    """The unbiased HSIC of centred representations, times n(n−3), which CKA cancels.

    Once the columns sum to zero, K̃1 = −diag K, and the three terms are those of the diagonals and ‖XᵀY‖².
    """
    n = len(x)
    other = y.copy()  # numpy multiplies an array with itself by another routine, which rounds differently
    if x.shape[1] * y.shape[1] <= n * (x.shape[1] + y.shape[1]):
        together = np.square(x.T @ other).sum()
    else:
        together = ((x @ x.T) * (other @ other.T)).sum()
    a, b = np.square(x).sum(1), np.square(other).sum(1)
    return float(together - n / (n - 2) * (a @ b) + a.sum() * b.sum() / ((n - 1) * (n - 2)))


def drift(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """1 − cos(x, y) of each example, as ½‖x/‖x‖ − y/‖y‖‖²: exact for small angles, exactly 0 for equal ones.

    Returns:
        0 … 2; NaN where either vector is zero or not finite.

    >>> drift(np.array([[3.0, 0], [1, 1]]), np.array([[0.0, 2], [-1, -1]])).round(12).tolist()
    [1.0, 2.0]
    """
    return np.square(_unit(x) - _unit(y)).sum(1) / 2


def effective_rank(x: Float[np.ndarray, "n d"]) -> float:
    """How many directions the representations use: exp(−Σ pᵢ ln pᵢ), pᵢ = σᵢ / Σσ.

    σ are the singular values after the mean over examples is taken off, which would otherwise count as a
    direction, and mostly as the largest.

    Returns:
        1 … min(n − 1, d); 0 where all examples are represented alike; NaN where one is not finite.

    Source: Roy & Vetterli 2007, section 2.

    >>> x = np.array([[1.0, 0, 5], [-1, 0, 5], [0, 1, 5], [0, -1, 5]])
    >>> round(effective_rank(x), 12), round(effective_rank(x[:2]), 12)
    (2.0, 1.0)
    """
    if not np.isfinite(x).all():
        return float("nan")
    sigma = np.linalg.svd(centred(x), compute_uv=False)
    if not sigma.any():
        return 0.0
    return entropy_rank(sigma)


def entropy_rank(sigma: Float[np.ndarray, " r"]) -> float:
    """exp(−Σ pᵢ ln pᵢ), pᵢ = σᵢ / Σσ: from singular values, of which one is above zero.

    Source: Roy & Vetterli 2007, section 2.

    >>> round(entropy_rank(np.array([3.0, 3.0, 3.0, 0.0])), 12)
    3.0
    """
    p = sigma[sigma > 0] / sigma.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def norm_outliers(norms: Float[np.ndarray, "n tokens"]) -> Float[np.ndarray, " n"]:
    """The share of each example's tokens whose norm lies above median + 6 · 1.4826 · MAD.

    Median and median absolute deviation (MAD) are over all tokens of all examples; 1.4826 · MAD is the
    standard deviation where norms are normal. The rule goes with the model's own scale: the cut-off of 150
    that Darcet et al. 2024 (section 2.1) read off a histogram fits the one model that it was read off.

    Returns:
        0 … 1; NaN where any norm is not finite.

    >>> norm_outliers(np.array([[1.0, 2, 3, 2], [2, 1, 90, 3]])).tolist()
    [0.0, 0.25]
    """
    norms = norms.astype(np.float64)
    if not np.isfinite(norms).all():
        return np.full(len(norms), np.nan)
    middle = np.median(norms)
    cutoff = middle + OUTLIER * 1.4826 * np.median(np.abs(norms - middle))
    return (norms > cutoff).mean(1)


def centred(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Less the mean over examples, in float64; zero where no more than float32's rounding is left."""
    x = x.astype(np.float64)
    around = x - x.mean(0)
    if np.abs(around).max() <= np.finfo(np.float32).eps * np.abs(x).max():
        return np.zeros_like(around)
    return around


def _unit(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    x = x.astype(np.float64)
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, norm, out=np.full_like(x, np.nan), where=np.isfinite(norm) & (norm > 0))
