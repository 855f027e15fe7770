"""Several tuned models averaged in place."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tunescope.methods.method import Installed


class ModelMean:
    """The mean of models' effective weights and heads: m ← m + (θ − m) / (k + 1), in place.

    Averaged are the weights as they stand once merged. For LoRA that is W₀ plus the mean of the changes B·A,
    which is not what the mean of the A and the mean of the B would give. So the mean is a plain model.

    Beside the model that becomes the mean, one copy of the weights that the method changes is kept. Where
    that is an adapter, its weights are merged out of a model of their own.

    Args:
        model: those weights, on a plain encoder that becomes the mean.
        parts: the method at work, for each model's weights to be put into; `model` itself where the method
            trains plain weights.
        head: of the kind that all of the models have.

    Attributes:
        count: how many models are in the mean.
    """

    def __init__(self, model: Installed, parts: Installed, head: nn.Module):
        self.model, self.parts, self.head, self.count = model, parts, head, 0
        self._kept: dict[str, Tensor] = {}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Have encoder and head be one of the models: `encoder.…` and `head.…`, as runs save them.

        Raises:
            MethodError: the weights are none of this method.
        """
        part = {
            of: {name.removeprefix(of): value for name, value in weights.items() if name.startswith(of)}
            for of in ("encoder.", "head.")
        }
        self.parts.load_state_dict(part["encoder."])
        self.head.load_state_dict(part["head."])
        if self.parts is not self.model:
            merged = self.parts.weights()
            with torch.no_grad():
                for name, weight in self.model.trainable.items():
                    weight.copy_(merged[name])

    def include(self) -> None:
        """Have them be the mean of the models that are in and the one that was loaded last."""
        now = self._now()
        for name, kept in self._kept.items():
            torch.lerp(kept, now[name], 1 / (self.count + 1), out=now[name])

    def accept(self) -> None:
        """The model that was loaded last is in."""
        for name, value in self._now().items():
            if self.count:
                self._kept[name].copy_(value)
            else:
                self._kept[name] = value.clone()
        self.count += 1

    def restore(self) -> None:
        """Have encoder and head be the mean of the models that are in."""
        for name, value in self._now().items():
            value.copy_(self._kept[name])

    def _now(self) -> dict[str, Tensor]:
        """What is averaged, as it stands; tensors that may be written to."""
        found = {f"encoder.{name}": value.detach() for name, value in self.model.trainable.items()}
        head = self.head.state_dict()  # its tensors are the head's own
        return found | {f"head.{name}": v for name, v in head.items() if v.is_floating_point()}
