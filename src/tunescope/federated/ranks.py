"""Ranks that change between rounds: more of it, less of it, a client's own, and none."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from tunescope.errors import MethodError
from tunescope.federated.factors import Change, Factors, Matrix, dense, svd

NOTHING = 1e-6  # of the longest row: what is shorter is rounding


def first(factors: Factors, rank: int) -> Factors:
    """The first `rank` rows of A and columns of B; all of them where there are no more.

    >>> first(Factors(np.eye(3), np.eye(3)), 1).product().tolist()[0]
    [1.0, 0.0, 0.0]
    """
    if rank >= factors.rank:
        return factors
    core = None if factors.core is None else factors.core[:rank, :rank]
    return replace(factors, a=factors.a[:rank], b=factors.b[:, :rank], core=core)


def grow(factors: Factors, rank: int, seed: int = 0) -> Factors:
    """A higher rank with the same product: B gets zero columns, A new rows orthogonal to those it has.

    The new rows have the mean length of the old ones (1 where there are none but zeros), so that a step along
    them moves the product as far as one along an old row. With zeros on both sides there
    would be no gradient. New rows are orthogonal to each other and to A's as far as `in` leaves room; beyond
    that they are only drawn at random.

    Args:
        factors: without a core; scale and old entries stay, bit for bit.
        rank: at least the present one.
        seed: of what is drawn.

    Raises:
        MethodError: the rank is lower, or there is a core.

    >>> grown = grow(Factors(np.array([[2.0, 0.0, 0.0]]), np.array([[1.0]])), 2)
    >>> grown.a.shape, grown.b.tolist(), grown.product().tolist()
    ((2, 3), [[1.0, 0.0]], [[2.0, 0.0, 0.0]])
    """
    _coreless(factors)
    if rank < factors.rank:
        raise MethodError(f"grow: rank {rank} is below the present {factors.rank}; use shrink")
    more = rank - factors.rank
    a = factors.a.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1)
    length = lengths[lengths > 0].mean() if lengths.any() else 1.0
    drawn = np.random.Generator(np.random.Philox(seed)).standard_normal((more, a.shape[1]))
    new = np.concatenate([_orthogonal(drawn[: _room(a)], a), drawn[_room(a) :]])
    new *= length / np.linalg.norm(new, axis=1, keepdims=True)
    b = np.zeros((factors.b.shape[0], more), factors.b.dtype)
    return replace(
        factors,
        a=np.concatenate([factors.a, new.astype(factors.a.dtype)]),
        b=np.concatenate([factors.b, b], axis=1),
    )


def _room(a: Matrix) -> int:
    """How many directions are orthogonal to all rows."""
    return a.shape[1] - (int(np.linalg.matrix_rank(a)) if a.size else 0)


def _orthogonal(drawn: Matrix, a: Matrix) -> Matrix:
    """An orthonormal basis of what the drawn rows have outside the span of A's rows."""
    _, sigma, vt = np.linalg.svd(a, full_matrices=False)
    basis = vt[sigma > 1e-12 * sigma.max(initial=0.0)] if sigma.any() else vt[:0]
    for _ in range(2):  # twice: what rounding left of A's span is taken out, too
        drawn = drawn - (drawn @ basis.T) @ basis
    return np.linalg.qr(drawn.T)[0].T


def shrink(factors: Factors, rank: int) -> Factors:
    """The best product of a lower rank, balanced: B = U·√(σ/s), A = √(σ/s)·Vᵀ of the first singular values.

    No matrix of this rank is nearer in the Frobenius norm; the distance is √Σ_{i>rank} σ_i². Balanced:
    BᵀB = AAᵀ, so that B and A learn at the same pace.

    Source: Eckart & Young 1936 (Psychometrika 1(3)), section 3.

    Args:
        factors: any; scale and types stay, a core is folded in.
        rank: from 1 to the present one.

    Raises:
        MethodError: another rank, or a scale that is not positive.

    >>> less = shrink(Factors(np.diag([1.0, 3.0]), np.eye(2)), 1)
    >>> less.product().round(12).tolist()
    [[0.0, 0.0], [0.0, 3.0]]
    """
    if not 1 <= rank <= factors.rank:
        raise MethodError(f"shrink: rank {rank}; expected 1 to the present {factors.rank}")
    u, sigma, vt = svd(factors)
    return from_svd(u[:, :rank], sigma[:rank], vt[:rank], factors.scale, rank, factors.a.dtype)


def from_svd(
    u: Matrix, sigma: Float[np.ndarray, " k"], vt: Matrix, scale: float, rank: int, dtype: np.dtype
) -> Factors:
    """Balanced factors with s·B·A = U·diag(σ)·Vᵀ, with zeros where k is below the rank.

    Raises:
        MethodError: a scale that is not positive.
    """
    if scale <= 0:
        raise MethodError(f"scale {scale:g}; expected more than 0")
    root = np.sqrt(sigma / scale)
    a, b = root[:, None] * vt, u * root
    missing = rank - len(sigma)
    a = np.pad(a, ((0, missing), (0, 0)))
    return Factors(a.astype(dtype), np.pad(b, ((0, 0), (0, missing))).astype(dtype), scale)


def fitted(factors: Factors, rank: int, scale: float, seed: int = 0) -> Factors:
    """What a client of this rank and scale is sent: the first directions, and new ones that do nothing yet.

    Where its scale is another, B is multiplied by the quotient, so that the product stays.

    >>> sent = fitted(Factors(np.eye(2), np.eye(2), scale=3.0), rank=1, scale=1.5)
    >>> sent.b.tolist(), sent.product().tolist()
    ([[2.0], [0.0]], [[3.0, 0.0], [0.0, 0.0]])
    """
    if scale <= 0:
        raise MethodError(f"scale {scale:g}; expected more than 0")
    found = first(factors, rank) if rank <= factors.rank else grow(factors, rank, seed)
    if scale == found.scale:
        return found
    quotient = found.scale / scale
    return replace(found, b=(quotient * found.b.astype(np.float64)).astype(found.b.dtype), scale=scale)


def resized(factors: Factors, rank: int, scale: float, seed: int = 0) -> Factors:
    """The nearest product of another rank and scale, in factors whose every direction can learn.

    Where the nearest has a lower rank than is asked for, the directions that are left are new ones (`grow`),
    for zeros in A and in B have no gradient; where there is no product yet, A keeps its first rows.

    >>> of = resized(Factors(np.diag([1.0, 3.0, 0.0]), np.eye(3)), rank=1, scale=2.0)
    >>> of.product().round(12).tolist()[1], of.scale
    ([0.0, 3.0, 0.0], 2.0)
    """
    if rank < factors.rank and factors.norm():
        factors = shrink(factors, rank)
        lengths = np.linalg.norm(factors.a, axis=1)
        factors = first(factors, int((lengths > NOTHING * lengths.max()).sum()))
    return fitted(factors, rank, scale, seed)


def merge(weight: Matrix, change: Change) -> Matrix:
    """W₀ + ΔW, added up in float64, in the type of W₀.

    Raises:
        MethodError: the shapes differ.

    >>> merge(np.ones((1, 2)), Factors(np.array([[1.0, 2.0]]), np.array([[1.0]]), scale=2.0)).tolist()
    [[3.0, 5.0]]
    """
    if weight.shape != change.shape:
        raise MethodError(
            f"merge: the weight is {list(weight.shape)} and its change {list(change.shape)}; they must agree"
        )
    return (weight.astype(np.float64) + dense(change)).astype(weight.dtype)


def _coreless(factors: Factors) -> None:
    if factors.core is not None:
        raise MethodError("grow: factors with a core R have a rank of their own; fold it first, with shrink")
