"""What a way of tuning is: settings that install themselves on an encoder."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from tunescope.errors import MethodError
from tunescope.study.component import Component

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tunescope.models.encoder import Encoder


class Installed:
    """A method at work on an encoder: what it trains, and how that is saved, taken off and merged.

    The encoder is changed in place and every other parameter of it is frozen.

    Args:
        encoder: the encoder that the method was installed on.
        tower: the tower that it tunes.
        trainable: the parameters it trains, by dotted name below `encoder.model`.
    """

    def __init__(self, encoder: "Encoder", tower: str, trainable: dict[str, "nn.Parameter"]):
        self.encoder = encoder
        self.tower = tower
        self.trainable = trainable
        wanted = {id(parameter) for parameter in trainable.values()}
        for parameter in encoder.model.parameters():
            parameter.requires_grad_(id(parameter) in wanted)

    def state_dict(self) -> dict[str, "Tensor"]:
        """What the method trained, by name, copied to the CPU; with the base model it is the whole result."""
        return {
            name: parameter.detach().to("cpu", copy=True).contiguous()
            for name, parameter in self.trainable.items()
        }

    def load_state_dict(self, state: dict[str, "Tensor"]) -> None:
        """Put saved values back, in place.

        Raises:
            MethodError: a name is missing or unknown, or a shape differs; nothing has been changed.
        """
        import torch

        if differing := sorted(state.keys() ^ self.trainable.keys()):
            raise MethodError(
                f"saved weights do not fit: {differing[0]!r} is on one side only "
                f"({len(differing)} such names); install the method with the settings of that training"
            )
        for name, parameter in self.trainable.items():
            if state[name].shape != parameter.shape:
                raise MethodError(
                    f"saved weights do not fit: {name!r} has shape {tuple(state[name].shape)}, expected "
                    f"{tuple(parameter.shape)}; "
                    "install the method with the settings of that training"
                )
        with torch.no_grad():
            for name, parameter in self.trainable.items():
                parameter.copy_(state[name])

    def without(self) -> AbstractContextManager[None] | None:
        """A context in which the adapter is off (`base_only`), or None where nothing can be taken off."""
        return None

    def merge(self) -> None:
        """Fold what was trained into plain weights, so that the model is an ordinary one. In place."""


class Method(Component, ABC):
    """A way of tuning."""

    @abstractmethod
    def install(self, encoder: "Encoder", tower: str = "vision") -> Installed:
        """Make `encoder` trainable in this way, in place; its output stays the base model's, bit for bit.

        Random initialisation draws from torch's global generator: seed it (`torch.manual_seed(spec.seed)`)
        just before, and equal seeds install equal weights.

        Args:
            encoder: a freshly loaded encoder on which no method is installed.
            tower: the tower to tune.

        Raises:
            MethodError: the method does not fit this model; says why and what would.
        """
