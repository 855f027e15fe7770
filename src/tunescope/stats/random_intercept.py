"""Rows of runs with a random effect for each run: y = Xβ + u_run + ε, fitted by restricted likelihood.

The rows of one run are all correlated alike, by the intraclass correlation ρ = τ²/(τ² + σ²), τ² the variance
of u, σ² that of ε. On balanced data ρ may come out below 0, as in the compound-symmetry model, so that β, its
error and the test are those of the runs' means, whatever ρ is. Written out because statsmodels' `MixedLM`,
which it agrees with where that converges, stops short of 8 digits, and does not converge where ρ is near 0.

Source: Patterson & Thompson (1971), Biometrika 58; Nelder (1954), Biometrika 41, for ρ below 0.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from tunescope.stats.intervals import CONSTANT, Floats

REACH = 20.0  # log of how far the ratio of the variances may be from the edge, either way


@dataclass(frozen=True)
class Fit:
    """What was fitted.

    Args:
        beta: β̂, of shape (p,).
        covariance: of β̂, of shape (p, p).
        correlation: ρ̂, the intraclass correlation.
        between: τ̂².
        residual: σ̂².
    """

    beta: Floats
    covariance: Floats
    correlation: float
    between: float
    residual: float


def random_intercept(y: Floats, x: Floats, runs: Floats, below_zero: bool = True) -> Fit | None:
    """Fit β and the two variances; None where they cannot be told apart or do not vary.

    With λ = τ²/σ² the rows of a run of n have the covariance σ²(I + λJ), whose inverse is known, and λ̂ is
    where the derivative of the restricted likelihood is 0.

    Args:
        y: of shape (rows,).
        x: of shape (rows, p).
        runs: for each row, the code 0, 1, … of its run, of shape (rows,).
        below_zero: whether ρ may be; where runs do not all have the same rows, a ρ near its lower end would
            take some of them for exact.

    >>> y, runs = np.array([1.0, 3.0, 4.0, 6.0, 7.0, 9.0]), np.array([0.0, 0.0, 1.0, 1.0, 2.0, 2.0])
    >>> found = random_intercept(y, np.ones((6, 1)), runs)
    >>> found.beta.round(6).tolist(), round(found.between, 6), round(found.residual, 6)
    ([5.0], 8.0, 2.0)
    """
    codes = runs.astype(int)
    sizes = np.bincount(codes).astype(float)
    if np.linalg.matrix_rank(x) < x.shape[1] or sizes.max() < 2 or len(y) <= x.shape[1] + 1:
        return None
    plain = np.linalg.lstsq(x, y, rcond=None)[0]
    rest = y - x @ plain  # what the fixed effects leave, so that no digits are lost below
    scale = float(np.abs(rest).max())
    if scale <= CONSTANT * float(np.abs(y).max()):
        return None
    rest = rest / scale
    xx, yy = x.T @ x, float(rest @ rest)
    s = np.array([np.bincount(codes, column) for column in x.T]).T
    t = np.bincount(codes, rest)
    free = len(y) - x.shape[1]

    def solved(ratio: float) -> tuple[Floats, Floats, Floats, float]:
        q = 1 / (1 + ratio * sizes)
        inverse = np.asarray(np.linalg.inv(xx - (s.T * (ratio * q)) @ s), np.float64)
        beta = inverse @ (-(s.T * (ratio * q)) @ t)
        left = yy - float((ratio * q * t) @ t) + float(beta @ (s.T @ (ratio * q * t)))
        return q, inverse, beta, left

    def slope(log: float) -> float:
        """Of −2 log likelihood, in λ, over the sum of its parts' sizes."""
        q, inverse, beta, left = solved(math.exp(log) - 1 / float(sizes.max()))
        trace = float((sizes * q).sum() - np.einsum("ij,jk,ik,i->", s, inverse, s, q**2))
        fits = free * float(((q * (t - s @ beta)) ** 2).sum()) / left
        return (trace - fits) / (abs(trace) + abs(fits)) if left > 0 else 1.0

    low = -REACH if below_zero else -math.log(float(sizes.max()))  # the latter is where λ is 0
    if slope(REACH) <= 0 or (below_zero and slope(low) >= 0):
        return None
    ratio = 0.0
    if slope(low) < 0:
        root = optimize.brentq(slope, low, REACH, xtol=1e-14)
        ratio = math.exp(float(root)) - 1 / float(sizes.max())  # pyright: ignore[reportArgumentType]
    _, inverse, beta, left = solved(ratio)
    residual = left / free * scale**2
    return Fit(
        plain + beta * scale,
        inverse * residual,
        ratio / (1 + ratio),
        ratio * residual,
        residual,
    )
