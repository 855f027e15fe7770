"""What a way of tuning is: settings that install themselves on an encoder."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from tunescope.errors import MethodError
from tunescope.study.component import Component

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from tunescope.methods.line import Line
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

    @property
    def buffers(self) -> dict[str, "Tensor"]:
        """What else decides the result, by name, and no optimiser changes; it is saved with the rest.

        VeRA's shared matrices, AdaLoRA's importance scores: tensors that may be written to in place.
        """
        return {}

    def state_dict(self) -> dict[str, "Tensor"]:
        """What was trained and the buffers, copied to the CPU: with the base model, the whole result."""
        return {
            name: value.detach().to("cpu", copy=True).contiguous()
            for name, value in (self.trainable | self.buffers).items()
        }

    def load_state_dict(self, state: dict[str, "Tensor"]) -> None:
        """Put saved values back, in place.

        Raises:
            MethodError: a name is missing or unknown, or a shape differs; nothing has been changed.
        """
        import torch

        held = self.trainable | self.buffers
        if differing := sorted(state.keys() ^ held.keys()):
            raise MethodError(
                f"saved weights do not fit: {differing[0]!r} is on one side only "
                f"({len(differing)} such names); install the method with the settings of that training"
            )
        for name, value in held.items():
            if state[name].shape != value.shape:
                raise MethodError(
                    f"saved weights do not fit: {name!r} has shape {tuple(state[name].shape)}, expected "
                    f"{tuple(value.shape)}; "
                    "install the method with the settings of that training"
                )
        with torch.no_grad():
            for name, value in held.items():
                value.copy_(state[name])

    def after_step(self, step: int, steps: int) -> None:
        """Called after every step of the optimiser, while the gradients of that step are still there.

        Args:
            step: from 1.
            steps: of the whole training.
        """

    def without(self) -> AbstractContextManager[None] | None:
        """A context in which the adapter is off (`base_only`), or None where nothing can be taken off."""
        return None

    def merge(self) -> None:
        """Fold what was trained into plain weights, so that the model is an ordinary one. In place."""

    def weights(self) -> "dict[str, Tensor]":
        """The plain model's parameters that the method changes, by name, as they stand once merged."""
        return dict(self.trainable)

    def effective(self, base: "Encoder") -> "dict[str, Tensor]":
        """`weights`, held against the model that they are the change of; not copied.

        Args:
            base: the encoder as it was before tuning.

        Raises:
            MethodError: the method adds parameters that cannot be folded into weights, or `base` is another
                model.
        """
        plain = dict(base.model.named_parameters())
        found = self.weights()
        for name, value in found.items():
            if name not in plain or plain[name].shape != value.shape:
                raise MethodError(
                    f"{name!r} is no weight of {base.name!r}: either that is another model, or the method "
                    "adds what cannot be folded into weights, and their change is not defined"
                )
        return found

    def update(self, base: "Encoder") -> "dict[str, Tensor]":
        """The effective change of the model's own weights: Δ = tuned − base, as merging would leave them.

        Args:
            base: the encoder as it was before tuning.

        Returns:
            by the plain model's parameter names, float32, on the CPU; one for every weight that the method
            can change, zero or not.

        Raises:
            MethodError: as `effective`.
        """
        import torch

        found: dict[str, Tensor] = {}
        for name, value in self.effective(base).items():
            before, after = (
                w.detach().to("cpu", torch.float32) for w in (base.model.get_parameter(name), value)
            )
            found[name] = after - before
        return found

    def origin(self) -> "dict[str, Tensor]":
        """Where on the line from the base model to the tuned one the first step begins: θ₀, for `line`.

        Call it before the first step. It names the trained parameters in which the effective weights are
        linear, each with the value at which the model is its base; the others stay as tuned.

        Raises:
            MethodError: there is no such line, with the reason; nothing has been changed.
        """
        return {name: value.detach().clone() for name, value in self.trainable.items()}

    def line(self, origin: "dict[str, Tensor]") -> "Line":
        """The line from the base model to the model as it is now: `at(α)` has the effective weights at
        W(α) = (1 − α)·W₀ + α·W₁, in place.

        Args:
            origin: what `origin` gave before the first step.
        """
        from tunescope.methods.line import Line

        return Line(self.trainable, origin)

    def save_adapter(self, folder: "str | Path") -> None:
        """Write what was trained in peft's format.

        Raises:
            MethodError: the method is not one that peft knows.
        """
        raise MethodError(
            f"nothing to write to {folder} in peft's format: the method does not go through peft; "
            "save its state_dict(), or merge it and save the model"
        )


class Method(Component, ABC):
    """A way of tuning."""

    @abstractmethod
    def install(self, encoder: "Encoder", tower: str = "vision") -> Installed:
        """Make `encoder` trainable in this way, in place.

        Its output stays the base model's, bit for bit, but for methods that say otherwise.

        Random initialisation draws from torch's global generator: seed it (`torch.manual_seed(spec.seed)`)
        just before, and equal seeds install equal weights.

        Args:
            encoder: a freshly loaded encoder on which no method is installed.
            tower: the tower to tune.

        Raises:
            MethodError: the method does not fit this model; says why and what would.
        """
