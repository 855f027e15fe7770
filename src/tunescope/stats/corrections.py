"""Corrections for asking several questions at once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tunescope.stats.intervals import Floats
from tunescope.study.question import Correction

NAMES: dict[Correction, str] = {"holm": "Holm", "benjamini_hochberg": "Benjamini–Hochberg"}


def corrected(p: Sequence[float], correction: Correction) -> list[float]:
    """The p-values of a study's questions, corrected together, in the order given."""
    return holm(p) if correction == "holm" else benjamini_hochberg(p)


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
    return _back(stepped, order)


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's step-up correction, in the order given: p̃₍ᵢ₎ = min over j ≥ i of k·p₍ⱼ₎/j.

    It holds the expected share of false among all "yes" and "no" at α, where questions are independent or
    depend on one another positively: more is found than with Holm's, and more of it is wrong.

    Source: Benjamini & Hochberg (1995), JRSS B 57.

    >>> [round(value, 3) for value in benjamini_hochberg([0.01, 0.04, 0.03])]
    [0.03, 0.04, 0.04]
    """
    values = np.asarray(p, float)
    order = np.argsort(-values, kind="stable")
    stepped = np.minimum.accumulate(values[order] * (len(values) / np.arange(len(values), 0, -1)))
    return _back(stepped, order)


def _back(stepped: Floats, order: NDArray[np.intp]) -> list[float]:
    found = np.empty_like(stepped)
    found[order] = np.minimum(stepped, 1)
    return found.tolist()
