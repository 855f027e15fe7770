"""The learning rate over the steps of a run."""

import math
from typing import Literal

Schedule = Literal["cosine", "linear", "constant"]


def factor(step: int, steps: int, schedule: Schedule, warmup: float = 0.0) -> float:
    """What the learning rate is multiplied by at a step.

    With w = round(warmup · steps) and p = (step − w) / (steps − w): (step + 1) / (w + 1) while step < w, then
    ½·(1 + cos π·p), 1 − p or 1. The peak 1 is reached at step w, and no step has the factor 0.

    Args:
        step: from 0 to steps − 1.
        steps: of the whole run.
        schedule: the shape after the warm-up.
        warmup: share of all steps, below 1.

    Source: Loshchilov & Hutter 2017 (arXiv 1608.03983), equation 5, without restarts; Goyal et al. 2017
    (arXiv 1706.02677), section 2.2, for the warm-up.

    >>> [factor(step, 4, "linear") for step in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    >>> [round(factor(step, 6, "cosine", warmup=1 / 3), 3) for step in range(6)]
    [0.333, 0.667, 1.0, 0.854, 0.5, 0.146]
    """
    warm = min(round(warmup * steps), steps - 1)
    if step < warm:
        return (step + 1) / (warm + 1)
    progress = (step - warm) / (steps - warm)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    return 1 - progress if schedule == "linear" else 1.0
