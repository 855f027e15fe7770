"""What a probe reads of a split: its examples, or its prompts, spread evenly."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, Shaped

from tunescope.errors import MethodError

if TYPE_CHECKING:
    from tunescope.data.examples import Examples


def spread(count: int, size: int) -> Int[np.ndarray, " n"]:
    """At most `count` indices spread evenly over `size` examples, the first and the last among them.

    >>> spread(3, 9).tolist(), spread(4, 2).tolist()
    ([0, 4, 8], [0, 1])
    """
    return np.linspace(0, size - 1, min(count, size)).round().astype(np.int64)


def few(examples: "Examples", count: int) -> "Examples":
    """At most `count` of the examples, spread evenly; every class stays a candidate."""
    chosen = spread(count, len(examples))
    return replace(
        examples,
        inputs=examples.inputs[chosen],
        labels=examples.labels[chosen],
        ids=tuple(examples.ids[i] for i in chosen),
    )


def read_by(tower: str, examples: "Examples") -> Shaped[np.ndarray, "n ..."]:
    """What a tower reads of a split: its examples, or, for the text tower of a task on images, its prompts.

    Prompts are every class name in every template, class by class.

    Raises:
        MethodError: a vision tower, and examples that are texts.
    """
    if examples.tower == tower:
        return examples.inputs
    if tower != "text":
        raise MethodError(f"the {tower} tower reads images, and the split {examples.split!r} holds texts")
    texts = [template.replace("{}", name) for name in examples.class_names for template in examples.templates]
    return np.array(texts, dtype=object)
