"""What a way of putting clients' factors together is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from tunescope.errors import MethodError
from tunescope.federated.factors import Factors, stacked
from tunescope.federated.mean import others, shares
from tunescope.federated.ranks import first
from tunescope.federated.update import Aggregated, ClientUpdate
from tunescope.study.component import Component

Part = Literal["a", "b", "core"]
Joined = tuple[Factors | None, Factors | None]  # what goes on being trained; what is added to W₀


class Held(NamedTuple):
    """One client's factors of one target, with its share of the examples."""

    client: str
    share: float
    factors: Factors


class Strategy(Component, ABC):
    """A way of putting together what clients have trained.

    The ideal is the mean of the clients' changes, ΔW* = Σ_k p_k·s_k·B_k·A_k with p_k = n_k / Σ n. What the
    server sends next is held against it: ‖ΔW − ΔW*‖_F / ‖ΔW*‖_F is `aggregation_error`, for every strategy.
    Sums are taken in float64 in the order of the clients' names, so that arrival order does not matter.
    """

    exact: ClassVar[bool] = False  # the next round begins at ΔW*
    renews: ClassVar[bool] = False  # in other directions: an optimiser's moments are not of these factors

    def trained(self, round: int) -> tuple[Part, ...]:
        """Which factors clients train, and so send, in a round, counted from 1."""
        return ("a", "b")

    @abstractmethod
    def join(self, target: str, held: Sequence[Held], round: int) -> Joined:
        """The next factors of one target, None to begin anew, and what is added to its base weight, if any.

        Raises:
            MethodError: clients differ in rank, scale or a frozen factor, and the strategy cannot put that
                together.
        """

    def aggregate(self, updates: Sequence[ClientUpdate], round: int) -> Aggregated:
        """What the server has for the next round.

        Args:
            updates: of the clients that answered, in any order.
            round: from 1.

        Raises:
            MethodError: no update; two of one client; targets or shapes that differ; what `join` raises.
        """
        updates = ordered(updates)
        factors: dict[str, Factors] = {}
        additions: dict[str, Factors] = {}
        ideal: dict[str, Factors] = {}
        highest: dict[str, int] = {}
        for target in updates[0].factors:
            held = self._held(target, updates)
            kept, added = self.join(target, held, round)
            factors |= {} if kept is None else {target: kept}
            additions |= {} if added is None else {target: added}
            ideal[target] = stacked([one.factors for one in held], [one.share for one in held])
            highest[target] = max(one.factors.rank for one in held)
        sent = {target: first(kept, highest[target]) for target, kept in factors.items()}
        errors = aggregation_error(ideal, sent, additions)
        return Aggregated(factors, additions, others(updates), errors)

    def _held(self, target: str, updates: Sequence[ClientUpdate]) -> list[Held]:
        found: list[Held] = []
        for update, share in zip(updates, shares(updates), strict=True):
            factors, like = update.factors[target], updates[0].factors[target]
            if factors.shape != like.shape:
                raise MethodError(
                    f"{target}: the weight is {list(factors.shape)} at client {update.client!r} and "
                    f"{list(like.shape)} at {updates[0].client!r}; clients must tune the same model"
                )
            if (factors.core is not None) != ("core" in self.trained(1)):
                wanted = "with" if factors.core is None else "without"
                raise MethodError(
                    f"{self.kind}: client {update.client!r} sent {target} in another form; expected factors "
                    f"{wanted} a core R"
                )
            found.append(Held(update.client, share, factors))
        return found


def ordered(updates: Sequence[ClientUpdate]) -> list[ClientUpdate]:
    """By client, after a look at whether they belong together.

    Raises:
        MethodError: there are none, two are of one client, or the targets differ.
    """
    updates = sorted(updates, key=lambda update: update.client)
    if not updates:
        raise MethodError("no client answered: there is nothing to aggregate")
    like = updates[0]
    for before, update in pairwise(updates):
        if before.client == update.client:
            raise MethodError(f"client {update.client!r} sent two updates for one round; expected one")
        if differing := sorted(update.factors.keys() ^ like.factors.keys()):
            raise MethodError(
                f"{differing[0]!r} is a target of one of the clients {like.client!r} and {update.client!r} "
                "only; all clients must tune the same targets"
            )
    return updates


def alike(kind: str, target: str, held: Sequence[Held]) -> None:
    """Raises MethodError where ranks or scales of the clients differ, with what could be used instead."""
    like = held[0]
    for one in held:
        for name, said, own in (
            ("rank", one.factors.rank, like.factors.rank),
            ("scale", one.factors.scale, like.factors.scale),
        ):
            if said != own:
                raise MethodError(
                    f"{kind}: {target} has {name} {said:g} at client {one.client!r} and {own:g} at "
                    f"{like.client!r}; {kind} needs the same everywhere: take flora, flexlora or hetlora"
                )


def frozen(kind: str, target: str, held: Sequence[Held], part: Literal["a", "b"]) -> None:
    """Raises MethodError where a factor that nobody trains differs between clients."""
    like = held[0]
    for one in held:
        if not np.array_equal(getattr(one.factors, part), getattr(like.factors, part)):
            raise MethodError(
                f"{kind}: {part.upper()} of {target} differs between clients {like.client!r} and "
                f"{one.client!r}; it is frozen in this round: send all clients the same one, untrained"
            )


def aggregation_error(
    ideal: Mapping[str, Factors], kept: Mapping[str, Factors], added: Mapping[str, Factors]
) -> dict[str, float]:
    """‖ΔW − ΔW*‖_F / ‖ΔW*‖_F of every target and of all together; no matrix [out, in] is made.

    Args:
        ideal: ΔW* by target.
        kept: the factors of the next round.
        added: what goes into the base weights.

    Returns:
        `aggregation_error` and `aggregation_error/<target>`; 0 where ideal and outcome are zero, infinite
        where the ideal alone is. Nothing where there are no targets.

    >>> one = Factors(np.array([[1.0]]), np.array([[2.0]]))
    >>> aggregation_error({"q": one}, {"q": Factors(np.array([[1.0]]), np.array([[1.5]]))}, {})
    {'aggregation_error': 0.25, 'aggregation_error/q': 0.25}
    """
    missed, whole = [], []
    for target, wanted in ideal.items():
        made = [of[target] for of in (kept, added) if target in of]
        missed.append(stacked([*made, wanted], [1.0] * len(made) + [-1.0]).norm())
        whole.append(wanted.norm())
    if not ideal:
        return {}
    each = {f"aggregation_error/{t}": _ratio(m, w) for t, m, w in zip(ideal, missed, whole, strict=True)}
    total = _ratio(float(np.linalg.norm(missed)), float(np.linalg.norm(whole)))
    return {"aggregation_error": total} | each


def _ratio(part: float, whole: float) -> float:
    if whole:
        return part / whole
    return float("inf") if part else 0.0
