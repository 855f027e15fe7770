"""How well a model does on its validation examples: the one thing that choices after tuning are made by."""

import sys

import torch
from torch import nn

from tunescope.data.examples import Examples
from tunescope.methods.method import Installed
from tunescope.objectives.objective import Objective
from tunescope.results.row import Row
from tunescope.study.run import RunSpec
from tunescope.training.features import Features
from tunescope.training.ranks import Ranks
from tunescope.training.validation import validate


class Score:
    """The validation accuracy of a model as it stands, or its loss where numbers are predicted.

    Computed as the training loop does at the end of an epoch, in the run's precision; what no trained weight
    touches is computed once.

    Args:
        installed: the method at work on the encoder, in evaluation mode.
        head: on the encoder's features; put into evaluation mode.
        spec: the run; its objective, precision and batch size are read.
        val: the examples.

    Attributes:
        name: `val_acc1`, of which more is better, or `val_loss`, of which less is.
    """

    def __init__(self, installed: Installed, head: nn.Module, spec: RunSpec, val: Examples):
        self.device, self.head, self.spec, self.val = installed.encoder.device, head.eval(), spec, val
        self.name = "val_loss" if val.regression else "val_acc1"
        size = spec.train.batch_size
        self.features = Features(installed.encoder, installed, val, batch_size=size, autocast=self._autocast)

    def __call__(self) -> float:
        """The score now; a model whose outputs are not finite is as bad as can be."""
        objective = self.spec.objective
        assert isinstance(objective, Objective)
        found = validate(objective, self.head, self.features, self.val, Ranks(), self._autocast)
        if found is None:
            return sys.float_info.max if self.val.regression else 0.0
        return found.value

    def merit(self, value: float) -> float:
        """A score such that more is better."""
        return -value if self.val.regression else value

    def row(self, value: float) -> Row:
        """The row of the model that was settled on."""
        return Row(f"after.{self.name}", value, split="val", n=len(self.val))

    def _autocast(self):
        enabled = self.spec.train.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)
