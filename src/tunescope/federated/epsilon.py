"""What clipping and noise of a federated run come to as (ε, δ)."""

import math

from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

from tunescope.study.federated import Federated

DELTA = 1e-5  # that runs are told at


def epsilon(noise: float, rounds: int, delta: float = DELTA) -> float:
    """ε of R sums to which N(0, (z·C)²) was added, where one client moves each of them by C at the most.

    Together they tell what one sum with noise σ·C does, σ = z / √R, and that is (ε, δ)-private just where

        Φ(1/2σ − ε·σ) − e^ε · Φ(−1/2σ − ε·σ) ≤ δ

    Args:
        noise: z, above 0.
        rounds: R, at least 1.
        delta: above 0, below 1.

    Source: Balle & Wang 2018 (arXiv 1805.06530), theorem 8; of several sums: Dong, Roth & Su 2022 (arXiv
    1905.02383).

    >>> round(epsilon(noise=1.0, rounds=1), 3), round(epsilon(noise=2.0, rounds=4), 3)
    (4.377, 4.377)
    """
    sigma = noise / math.sqrt(rounds)

    def above(at: float) -> float:
        less = math.exp(min(0.0, at + float(log_ndtr(-0.5 / sigma - at * sigma))))
        return float(ndtr(0.5 / sigma - at * sigma)) - less - delta

    if above(0.0) <= 0:
        return 0.0
    high = 1.0
    while above(high) > 0:
        high *= 2
    return float(brentq(above, 0.0, high, xtol=1e-9))  # pyright: ignore[reportArgumentType]


def epsilon_of(federated: Federated) -> float | None:
    """ε of all that a run's server gives out of what clients sent, at δ = 1e-5, towards one client's data.

    It holds where every client takes part in each round, and is an upper bound where `sample` draws some.
    What clients say about themselves (losses, numbers of examples, accuracies) is not part of it.

    Returns:
        None without noise; where the noise can be drawn again from the study's `noise_seed`; and where the
        norm is adaptive, which Flower's noise on the count of clipped steps makes another sum.
    """
    privacy = federated.privacy
    if privacy is None or not privacy.noise or privacy.adaptive or privacy.noise_seed is not None:
        return None
    return epsilon(privacy.noise, federated.rounds)
