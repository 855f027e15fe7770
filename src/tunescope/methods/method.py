"""What a way of tuning is: settings that install themselves on an encoder."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from tunescope.study.component import Component

if TYPE_CHECKING:
    from torch import Tensor, nn
    from tunescope.models.encoder import Encoder


class Installed:
    """A method at work on an encoder: what it trains, and how that is saved, taken off and merged.

    The encoder is changed in place and every other parameter is frozen.
    """

    def __init__(self, encoder: "Encoder", trainable: dict[str, "nn.Parameter"]):
        self.encoder = encoder
        self.trainable = trainable  # by dotted name below `encoder.model`
        wanted = {id(parameter) for parameter in trainable.values()}
        for parameter in encoder.model.parameters():
            parameter.requires_grad_(id(parameter) in wanted)

    def state_dict(self) -> dict[str, "Tensor"]:
        """What the method trained, by name; with the base model it is the whole result."""
        return {name: parameter.detach().clone() for name, parameter in self.trainable.items()}

    def load_state_dict(self, state: dict[str, "Tensor"]) -> None:
        """Put saved values back, in place.

        Raises:
            KeyError: a name is missing or unknown.
        """
        import torch

        if state.keys() != self.trainable.keys():
            raise KeyError(f"saved names differ: {sorted(state.keys() ^ self.trainable.keys())[:4]}")
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
        """Make `encoder` trainable in this way, in place.

        Raises:
            MethodError: the method does not fit this model; says why and what would.
        """
