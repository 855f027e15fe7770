"""Our LoRA-aware strategies behind the common face: factors by name, and what is added to the base weights.

Names: `factors/<target>/a`, `/b` and `/core`; `scale/<target>`, [1]; `added/<target>/a` and `/b`, whose
product every client adds to its own base weight W₀ before it trains, or `added/<target>/whole`, [out, in],
where that is less to send. It is the sum over all rounds, so that a client that was away, or that begins
anew, has the same model. Every other name is a plain parameter.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tunescope.federated.combining import Answer, Combining
from tunescope.federated.factors import Change, Factors, added_up
from tunescope.federated.job import Arrays
from tunescope.federated.ranks import fitted, resized
from tunescope.federated.strategy import Strategy
from tunescope.federated.update import ClientUpdate

FACTORS, SCALE, ADDED = "factors/", "scale/", "added/"
Fit = Callable[[str, str], tuple[int, float]]


def packed(factors: Mapping[str, Factors], added: Mapping[str, Change], others: Arrays) -> dict[str, NDArray]:
    """Factors, additions and plain parameters as one dictionary of arrays.

    >>> one = Factors(np.ones((1, 2)), np.ones((3, 1)), scale=2.0)
    >>> sorted(packed({"q": one}, {}, {"head": np.zeros(2)}))
    ['factors/q/a', 'factors/q/b', 'head', 'scale/q']
    """
    found = dict(others)
    for target, of in factors.items():
        found |= {f"{FACTORS}{target}/a": of.a, f"{FACTORS}{target}/b": of.b}
        found |= {} if of.core is None else {f"{FACTORS}{target}/core": of.core}
        found[SCALE + target] = np.array([of.scale])
    for target, change in added.items():
        if isinstance(change, Factors):
            found |= {f"{ADDED}{target}/a": change.a, f"{ADDED}{target}/b": change.b}
        else:
            found[f"{ADDED}{target}/whole"] = change
    return found


def factors_of(arrays: Arrays) -> dict[str, Factors]:
    """The factors among arrays, by target.

    >>> one = Factors(np.ones((1, 2)), np.ones((3, 1)), scale=2.0)
    >>> factors_of(packed({"q": one}, {}, {}))["q"].scale
    2.0
    """
    targets = sorted(name.removeprefix(SCALE) for name in arrays if name.startswith(SCALE))
    return {
        target: Factors(
            arrays[f"{FACTORS}{target}/a"],
            arrays[f"{FACTORS}{target}/b"],
            float(arrays[SCALE + target][0]),
            arrays.get(f"{FACTORS}{target}/core"),
        )
        for target in targets
    }


def added_of(arrays: Arrays) -> dict[str, Change]:
    """What is added to base weights, by target.

    >>> added_of(packed({}, {"q": np.ones((1, 2))}, {}))
    {'q': array([[1., 1.]])}
    """
    found: dict[str, Change] = {}
    for name in sorted(name for name in arrays if name.startswith(ADDED)):
        target, _, part = name.removeprefix(ADDED).rpartition("/")
        if part == "a":
            found[target] = Factors(arrays[name], arrays[f"{ADDED}{target}/b"])
        elif part == "whole":
            found[target] = arrays[name]
    return found


def others_of(arrays: Arrays) -> dict[str, NDArray]:
    """The plain parameters."""
    return {n: array for n, array in arrays.items() if not n.startswith((FACTORS, SCALE, ADDED))}


def is_trained(strategy: Strategy, round: int, name: str) -> bool:
    """Whether clients train this array in a round, and so send it.

    >>> from tunescope.federated.ffa_lora import FFALoRA
    >>> is_trained(FFALoRA(), 1, "factors/q/a"), is_trained(FFALoRA(), 1, "factors/q/b")
    (False, True)
    """
    if name.startswith(FACTORS):
        return name.rsplit("/", 1)[1] in strategy.trained(round)
    return not name.startswith((SCALE, ADDED))


class OfFactors(Combining):
    """A LoRA-aware strategy: each client is sent its rank, and sends back what it trained.

    Args:
        strategy: how factors are put together.
        fit: rank and scale of a client's factors, by client and target; the same for all and in all rounds,
            if left out.
        seed: of rows that are drawn where factors grow or begin anew.
    """

    def __init__(self, strategy: Strategy, fit: Fit | None = None, seed: int = 0):
        self.strategy = strategy
        self.fit = fit
        self.seed = seed

    def sends(self, round: int, arrays: Arrays, client: str) -> Arrays:
        """Everything, the factors at the client's rank."""
        if self.fit is None:
            return arrays
        found = {t: fitted(of, *self.fit(client, t), self.seed) for t, of in factors_of(arrays).items()}
        return packed(found, added_of(arrays), others_of(arrays))

    def expects(self, round: int, sent: Arrays) -> Arrays:
        """The factors that are trained in this round, and the plain parameters."""
        return {name: array for name, array in sent.items() if is_trained(self.strategy, round, name)}

    def combine(
        self, round: int, arrays: Arrays, answers: Sequence[Answer]
    ) -> tuple[dict[str, NDArray], dict[str, float]]:
        """What the strategy makes of the factors; what begins anew is drawn from the seed and the round."""
        updates = [self._update(round, arrays, answer) for answer in answers]
        made = self.strategy.aggregate(updates, round)
        before, factors = factors_of(arrays), dict(made.factors)
        for number, target in enumerate(sorted(before.keys() - factors.keys())):
            factors[target] = anew(before[target], [self.seed, round, number])
        if self.fit is None:
            factors = {
                t: resized(of, *self.next(round, t, before[t]), self.seed) for t, of in factors.items()
            }
        added = added_of(arrays)
        for target, more in made.additions.items():
            parts = [added[target], more] if target in added else [more]
            added[target] = added_up(parts, before[target].a.dtype)
        return packed(factors, added, made.others), dict(made.diagnostics)

    def next(self, round: int, target: str, before: Factors) -> tuple[int, float]:
        """Rank and scale of a target's factors after a round, where clients have none of their own."""
        return before.rank, before.scale

    def _update(self, round: int, arrays: Arrays, answer: Answer) -> ClientUpdate:
        whole = {**self.sends(round, arrays, answer.client), **answer.arrays}
        return ClientUpdate(answer.client, answer.examples, factors_of(whole), others_of(whole))


def anew(like: Factors, seed: Sequence[int]) -> Factors:
    """Factors of the same shapes that change nothing: A uniform on ±1/√in, as LoRA begins, and B zero.

    >>> fresh = anew(Factors(np.ones((1, 4)), np.ones((3, 1))), [0])
    >>> float(fresh.norm()), bool(abs(fresh.a).max() <= 0.5)
    (0.0, True)
    """
    drawn = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed))).random(like.a.shape)
    a = (2 * drawn - 1) / np.sqrt(like.a.shape[1])
    return replace(like, a=a.astype(like.a.dtype), b=np.zeros_like(like.b))
