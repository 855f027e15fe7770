"""Steps of the optimiser: the loss of a batch, its gradient, and the weights that follow from it."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer as TorchOptimizer

from tunescope.errors import Diverged
from tunescope.objectives.objective import Objective
from tunescope.study.run import RunSpec
from tunescope.training.features import Features
from tunescope.training.memory import Activations, held
from tunescope.training.optimizers import Optimizer
from tunescope.training.order import step_seed
from tunescope.training.penalties import Penalties
from tunescope.training.ranks import Ranks


class Taken(NamedTuple):
    """What is told of a step.

    Args:
        loss: of the whole batch, penalties included, before the step.
        norm: of the gradient that was followed, before it was clipped.
        penalties: the part of each kind in the loss.
        asked: whether any of the processes that share the run was asked to stop.
        memory: MiB that it held; told of the first step alone.
    """

    loss: float
    norm: float
    penalties: dict[str, float]
    asked: bool
    memory: float | None


class Loss(nn.Module):
    """Indices of training examples → their loss and their features.

    One module, because several processes share its parameters.
    """

    def __init__(self, model: nn.Module, head: nn.Module, features: Features, objective: Objective):
        super().__init__()
        self.model, self.head, self.features, self.objective = model, head, features, objective

    def forward(
        self, indices: NDArray[np.int64], uniform: NDArray[np.float64] | None, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mean loss, and features "b d"."""
        features = self.features.at(indices, uniform)
        return self.objective.loss(self.head, features, labels), features


class Steps:
    """Takes the steps of one run.

    Args:
        spec: the run.
        loss: of examples, by their indices.
        params: what is trained, by name.
        optimizer: over `params`, its groups with their scales.
        penalties: prepared.
        labels: of all training examples, "n".
        ranks: the processes that share the run.
        autocast: the precision to compute in.
    """

    def __init__(
        self,
        spec: RunSpec,
        loss: Loss,
        params: Mapping[str, nn.Parameter],
        optimizer: TorchOptimizer,
        penalties: Penalties,
        labels: Tensor,
        ranks: Ranks,
        autocast: Callable[[], AbstractContextManager],
    ):
        assert isinstance(spec.train.optimizer, Optimizer)
        self.spec, self.rule, self.optimizer = spec, spec.train.optimizer, optimizer
        self.params, self.penalties = list(params.values()), penalties
        self.labels, self.ranks, self.autocast = labels, ranks, autocast
        self.model, self.head, self.loss = loss.model, loss.head, ranks.together(loss)

    def take(
        self,
        step: int,
        lr: float,
        batch: NDArray[np.int64],
        uniform: NDArray[np.float64] | None,
        asked: bool = False,
    ) -> Taken:
        """Change the weights; the gradients that were followed stay.

        Args:
            step: from 1; decides, with the seed, what dropout draws.
            lr: the run's learning rate at this step.
            batch: which examples.
            uniform: numbers for the augmentation, a row for each training example; None for none.
            asked: whether this process was asked to stop.

        Raises:
            Diverged: loss or gradient are not finite; the weights are as they were.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["scale"]
        activations = Activations(self._weights()) if step == 1 else None
        with nullcontext() if activations is None else activations.counting():
            loss, parts = self._differentiated(step, batch, uniform)
        displaced = self.rule.displaced(self.params)
        if displaced is not None:
            with displaced:
                self._differentiated(step, batch, uniform)
        # An infinite limit leaves the gradients as they are, to the bit, and still gives their norm.
        norm = nn.utils.clip_grad_norm_(self.params, self.spec.train.clip_norm or math.inf)
        if self.ranks.world > 1:
            loss, others = self.ranks.mean(torch.stack([loss, torch.full_like(loss, asked)]))
            asked = bool(others)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise Diverged(step)
        self.optimizer.step()
        memory = None if activations is None else held(self._weights(), self.optimizer, activations)
        said = {kind: part.item() for kind, part in parts.items()}
        return Taken(loss.item(), norm.item(), said, asked, memory)

    def _weights(self) -> Iterator[Tensor]:
        """All of model and head, trained or not."""
        for module in (self.model, self.head):
            yield from module.parameters()
            yield from module.buffers()

    def _differentiated(
        self, step: int, batch: NDArray[np.int64], uniform: NDArray[np.float64] | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of this process's part of a batch and its penalties, at the weights as they are; gradients
        are left at the parameters. The same step draws the same random numbers, however often it is asked.
        """
        torch.manual_seed(step_seed(self.spec.seed, step, self.ranks.rank))
        indices, weight = self.ranks.share(batch)
        with self.penalties.watching() as kept:
            with self.autocast():
                drawn = None if uniform is None else uniform[indices]
                loss, features = self.loss(indices, drawn, self.labels[indices])
            parts = self.penalties.values(features, kept, indices)
            loss = sum(parts.values(), weight * loss)
            self.optimizer.zero_grad()
            loss.backward()
        return loss, parts
