"""Weighted means over clients, the same whatever the order in which they arrive."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tunescope.errors import MethodError
from tunescope.federated.update import ClientUpdate


def shares(updates: Sequence[ClientUpdate]) -> list[float]:
    """p_k = n_k / Σ n: each client's share of all examples.

    >>> shares([ClientUpdate("a", 1), ClientUpdate("b", 3)])
    [0.25, 0.75]
    """
    total = sum(update.examples for update in updates)
    return [update.examples / total for update in updates]


def mean(arrays: Iterable[NDArray], weights: Iterable[float]) -> NDArray:
    """Σ_k w_k·x_k, added up in float64 in the order given, in the first one's type.

    One array with weight 1 comes back bit for bit.

    >>> mean([np.float32([1, 2]), np.float32([3, 6])], [0.25, 0.75]).tolist()
    [2.5, 5.0]
    """
    arrays = list(arrays)
    terms = (weight * array.astype(np.float64) for array, weight in zip(arrays, weights, strict=True))
    return np.asarray(sum(terms)).astype(arrays[0].dtype)


def others(updates: Sequence[ClientUpdate]) -> dict[str, NDArray]:
    """FedAvg of what clients trained besides factors: θ = Σ_k p_k·θ_k by name.

    Source: McMahan et al. 2017 (arXiv 1602.05629), algorithm 1.

    Raises:
        MethodError: clients differ in names or shapes, or in the values of what is not floating point, which
            has no mean.
    """
    weights, first = shares(updates), updates[0]
    found: dict[str, NDArray] = {}
    for update in updates:
        if differing := sorted(update.others.keys() ^ first.others.keys()):
            raise MethodError(
                f"{differing[0]!r} is sent by one of {first.client!r} and {update.client!r} only; "
                "all clients of a round send the same arrays"
            )
    for name, like in first.others.items():
        arrays = [update.others[name] for update in updates]
        for update, array in zip(updates, arrays, strict=True):
            if array.shape != like.shape:
                raise MethodError(
                    f"{name!r} has shape {list(array.shape)} at client {update.client!r} and "
                    f"{list(like.shape)} at {first.client!r}; they must be the same to have a mean"
                )
        if np.issubdtype(like.dtype, np.floating):
            found[name] = mean(arrays, weights)
        elif all(np.array_equal(array, like) for array in arrays):
            found[name] = like.copy()
        else:
            raise MethodError(
                f"{name!r} is {like.dtype} and differs between clients; only floating-point "
                "arrays have a mean"
            )
    return found
