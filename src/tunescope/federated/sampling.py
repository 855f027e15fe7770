"""Who takes part in a round: drawn from the seed and the round, whoever happens to be there."""

from collections.abc import Iterable

import numpy as np


def sampled(clients: Iterable[str], number: int | None, seed: int, round: int) -> list[str]:
    """That many clients, in the order of their names; all of them where no number is given.

    A round's draw depends on no other round, so that a resumed server asks whom it would have asked.

    >>> sampled("abcdef", 3, seed=0, round=1) == sampled("fedcba", 3, seed=0, round=1)
    True
    >>> sampled("ba", None, seed=0, round=1)
    ['a', 'b']
    """
    names = sorted(clients)
    if number is None or number >= len(names):
        return names
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, round])))
    return sorted(names[index] for index in random.choice(len(names), number, replace=False))
