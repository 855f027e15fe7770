"""What a probe reads of a split: examples spread evenly over it, and its prompts."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

if TYPE_CHECKING:
    from tunescope.data.examples import Examples


def spread(count: int, size: int) -> Int[np.ndarray, " n"]:
    """At most `count` indices spread evenly over `size` examples, the first and the last among them.

    >>> spread(3, 9).tolist(), spread(4, 2).tolist()
    ([0, 4, 8], [0, 1])
    """
    return np.linspace(0, size - 1, min(count, size)).round().astype(np.int64)


def prompts(examples: "Examples") -> list[str]:
    """Every class name in every template of a split, class by class."""
    return [template.replace("{}", name) for name in examples.class_names for template in examples.templates]
