"""What a tower reads of a split: its examples, or its prompts."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from tunescope.errors import MethodError

if TYPE_CHECKING:
    from tunescope.data.examples import Examples


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
