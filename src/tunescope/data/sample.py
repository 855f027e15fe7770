"""A few examples of many, spread evenly over them."""

from dataclasses import replace

import numpy as np
from jaxtyping import Int

from tunescope.data.examples import Examples


def spread(count: int, size: int) -> Int[np.ndarray, " n"]:
    """At most `count` indices spread evenly over `size` examples, the first and the last among them.

    >>> spread(3, 9).tolist(), spread(4, 2).tolist()
    ([0, 4, 8], [0, 1])
    """
    return np.linspace(0, size - 1, min(count, size)).round().astype(np.int64)


def few(examples: Examples, count: int) -> Examples:
    """At most `count` of the examples, spread evenly; every class stays a candidate."""
    chosen = spread(count, len(examples))
    return replace(
        examples,
        inputs=examples.inputs[chosen],
        labels=examples.labels[chosen],
        ids=tuple(examples.ids[i] for i in chosen),
    )
