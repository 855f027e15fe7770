"""Which example comes when, and how it is drawn, from (seed, epoch, example) alone.

Nothing here holds a state, so an epoch is the same whether or not the ones before it ran in this process.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

_STREAMS = {"order": 0, "augment": 1, "step": 2}


def _generator(seed: int, epoch: int, stream: Literal["order", "augment"]) -> np.random.Generator:
    # Philox is counter-based: a stream is fixed by its key and the same on every platform.
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, _STREAMS[stream]])))


def order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order in which an epoch visits its examples: a permutation of 0 … count − 1.

    >>> order(0, 0, 6).tolist() == order(0, 0, 6).tolist() != order(0, 1, 6).tolist()
    True
    >>> sorted(order(0, 0, 6).tolist())
    [0, 1, 2, 3, 4, 5]
    """
    return _generator(seed, epoch, "order").permutation(count)


def draws(seed: int, epoch: int, count: int, width: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) for the augmentation of every example: shape [count, width].

    Row i depends on (seed, epoch, i) only, whatever `count` is.

    >>> bool((draws(0, 3, 10, 5)[:4] == draws(0, 3, 4, 5)).all())
    True
    """
    return _generator(seed, epoch, "augment").random((count, width))


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """What the generator of a step's dropout is seeded with: 64 bits from (seed, step, process of the run).

    >>> step_seed(0, 1) == step_seed(0, 1) != step_seed(0, 2)
    True
    """
    words = np.random.SeedSequence([seed, step, _STREAMS["step"], rank]).generate_state(1, np.uint64)
    return int(words[0])
