"""Validation: how well the head does on features as they are now."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from tunescope.data.examples import Examples
from tunescope.objectives.objective import Objective
from tunescope.training.features import Features
from tunescope.training.ranks import Ranks


class Validated(NamedTuple):
    """A score of the validation examples.

    Args:
        name: `val_acc1`, or `val_loss` where numbers are predicted.
        value: the share of examples that are right, or the mean loss.
        n: how many examples there are.
    """

    name: str
    value: float
    n: int


def validate(
    objective: Objective,
    head: nn.Module,
    features: Features,
    examples: Examples,
    ranks: Ranks,
    autocast: Callable[[], AbstractContextManager],
) -> Validated | None:
    """How many examples have their label's logit as the largest, or how far numbers are off.

    Args:
        objective: the run's; its loss is that of numbers.
        head: in evaluation mode.
        features: of the examples.
        examples: with labels.
        ranks: the processes that share the work; the answer is the same on each.
        autocast: the precision to compute in.

    Returns:
        None where an output of the head is not finite.
    """
    count = len(examples.labels)
    indices, weight = ranks.share(np.arange(count))
    found = features.all(indices)
    labels = torch.as_tensor(examples.labels[indices], device=found.device)
    with torch.no_grad(), autocast():
        outputs = head(found)
        if ranks.total((~torch.isfinite(outputs)).sum()):
            return None
        if examples.regression:
            loss = ranks.mean(weight * objective.loss(head, found, labels))
            return Validated("val_loss", loss.item(), count)
    right = ranks.total((outputs.argmax(-1) == labels).sum() * (weight > 0))
    return Validated("val_acc1", right.item() / count, count)
