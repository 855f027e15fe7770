"""What tuning did to a model's own weights, whatever the method: the effective change of each."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from tunescope.models.encoder import Encoder

    Pair = tuple[Tensor, Tensor]  # of the base model; its change


@dataclass(frozen=True)
class WeightChange:
    """A tuned model's weights beside its base's, by the plain model's parameter names.

    Args:
        base: the encoder as it was before tuning.
        tuned: the weights as merging leaves them; what is not named has not changed. They are the tuned
            model's own tensors where its method trains weights themselves: write nothing to them.
        apart: the towers that are tuned by what cannot be folded into weights (adapters, prompts, prefixes):
            the change there is not one of weights.
    """

    base: "Encoder"
    tuned: "dict[str, Tensor]"
    apart: frozenset[str] = frozenset()

    def towers(self, tuned: str) -> list[str]:
        """The towers with a change of weights to tell of: the tuned one, and every other that was changed.

        Args:
            tuned: the tower that the task tunes.
        """
        places = self.base.map.towers
        moved = {
            name
            for name, place in places.items()
            for path in (place.embeddings, *place.final, *(block.path for block in place.blocks))
            if any(weight.startswith(f"{path}.") for weight in self.tuned)
        }
        return [name for name in places if name in {tuned} | moved and name not in self.apart]

    def weight(self, name: str) -> "Pair":
        """A weight of the base model and its change Δ = tuned − base, zero where the method left it alone.

        Args:
            name: of the parameter.

        Returns:
            both in float32, on the CPU.
        """
        import torch

        before = self.base.model.get_parameter(name).detach().to("cpu", torch.float32)
        after = self.tuned.get(name)
        if after is None:
            return before, torch.zeros_like(before)
        return before, after.detach().to("cpu", torch.float32) - before

    def below(self, path: str) -> "list[Pair]":
        """Every weight of the module at a path, biases left out."""
        names = (name for name, _ in self.base.model.get_submodule(path).named_parameters())
        return [self.weight(f"{path}.{name}") for name in names if not name.endswith("bias")]
