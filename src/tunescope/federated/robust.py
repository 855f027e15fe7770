"""What clients send is looked at before it is used: who sent what cannot be used is left out, and named."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunescope.errors import nearest

FEWEST = 3  # clients from which a usual norm can be told
LONGEST = 200  # characters of a name that are told
SPREAD = 0.1  # of the median: the least deviation that norms are credited with


class Dropped(NamedTuple):
    """A client that is left out of a round, and why."""

    client: str
    cause: str


class Checked(NamedTuple):
    """Whose arrays can be used, in the order of names, and who was left out."""

    sound: dict[str, Mapping[str, NDArray]]
    dropped: tuple[Dropped, ...]


def check(
    received: Mapping[str, Mapping[str, NDArray]],
    sent: Mapping[str, Mapping[str, NDArray]],
    k: float = 10.0,
    most: float | None = None,
) -> Checked:
    """Leave out whoever sent back other arrays, values that are not finite, or far too large a step.

    A client's step is ‖what it sent back − what it was sent‖₂ over all arrays. Above `limit` of the round's
    steps, or where it is too large for a float64, it is left out; clients whose arrays could not be used have
    no part in that limit.

    Args:
        received: arrays by client and name.
        sent: what each client was sent, which says names, shapes and types: ranks may differ.
        k: as for `limit`.
        most: the largest norm that is used, in the place of that limit.

    >>> start = {client: {"w": np.zeros(2)} for client in "abcd"}
    >>> back = {client: {"w": np.ones(2)} for client in "abc"} | {"d": {"w": np.array([np.nan, 1])}}
    >>> check(back, start).dropped
    (Dropped(client='d', cause="'w' holds 1 value that is not finite, of 2"),)
    """
    dropped: dict[str, str] = {}
    norms: dict[str, float] = {}
    for client in sorted(received):
        if client not in sent:
            dropped[client] = "was not asked in this round"
        elif cause := unusable(received[client], sent[client]):
            dropped[client] = cause
        else:
            norms[client] = step_norm(received[client], sent[client])
    if most is None:
        most = limit(list(norms.values()), k)
    for client, norm in norms.items():
        if norm > most or np.isinf(norm):
            dropped[client] = f"its step has the norm {norm:.4g}, above {most:.4g}, the limit of this round"
    sound = {client: received[client] for client in norms if client not in dropped}
    return Checked(sound, tuple(Dropped(client, dropped[client]) for client in sorted(dropped)))


def limit(norms: list[float], k: float = 10.0) -> float:
    """The largest norm that is still usual: median + k·MAD, MAD the median distance from the median.

    At least a tenth of the median stands in the place of MAD, or clients that agree well would make an
    outlaw of any other: the limit is (1 + k/10) times the median or more. Of fewer than three clients nothing
    can be told, nor where most have not moved: infinite.

    Source: Leys et al. 2013 (J. Exp. Soc. Psychol. 49(4)) for the rule.

    >>> limit([1.0, 2.0, 4.0], k=2.0)
    4.0
    >>> limit([1.0, 1.0, 1.0], k=10.0), limit([1.0])
    (2.0, inf)
    """
    if len(norms) < FEWEST:
        return float("inf")
    middle = float(np.median(norms))
    with np.errstate(invalid="ignore"):
        distances = np.where(np.isinf(norms), np.inf, np.abs(np.array(norms) - middle))
    spread = max(float(np.median(distances)), SPREAD * middle)
    return middle + k * spread if 0 < middle < float("inf") else float("inf")


def step_norm(received: Mapping[str, NDArray], sent: Mapping[str, NDArray]) -> float:
    """√(Σ (received − sent)²) over all arrays, in float64; infinite where that overflows.

    >>> step_norm({"a": np.float32([3, 0]), "b": np.float32([4])}, {"a": np.zeros(2), "b": np.zeros(1)})
    5.0
    """
    with np.errstate(over="ignore"):
        squares = [
            float(np.square(received[name].astype(np.float64) - array.astype(np.float64)).sum())
            for name, array in sorted(sent.items())
        ]
        return float(np.sqrt(sum(squares)))


def unusable(received: Mapping[str, NDArray], sent: Mapping[str, NDArray]) -> str | None:
    """Why arrays cannot be used, the first reason found; None where they can.

    >>> unusable({"b": np.ones(2)}, {"b": np.ones(3)})
    "'b' is float64 [2]; expected float64 [3]"
    """
    if missing := sorted(sent.keys() - received.keys()):
        return f"{missing[0]!r} is missing ({len(missing)} of {len(sent)} arrays are)"
    if extra := sorted(received.keys() - sent.keys()):
        name = extra[0][:LONGEST]  # a client may call it what it likes
        return f"{name!r} was not asked for; {nearest(name, sent)}"
    for name, like in sorted(sent.items()):
        array = received[name]
        if array.shape != like.shape or array.dtype != like.dtype:
            return f"{name!r} is {array.dtype} {list(array.shape)}; expected {like.dtype} {list(like.shape)}"
        if wrong := int(np.size(array) - np.isfinite(array).sum()):
            values = "value that is" if wrong == 1 else "values that are"
            return f"{name!r} holds {wrong} {values} not finite, of {array.size}"
    return None
