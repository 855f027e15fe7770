"""Householder reflection adaptation through peft."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.methods.peft_adapter import PeftMethod, exactly

if TYPE_CHECKING:
    from peft import HRAConfig
    from torch import nn

    from tunescope.models.encoder import Encoder


class HRA(PeftMethod):
    """Trains a chain of reflections of the inputs: W = W₀·H₁·…·H_r, Hᵢ = I − 2·uᵢuᵢᵀ / ‖uᵢ‖².

    The chain is orthogonal and, as a change of the identity, of rank r at most. The u ∈ ℝ^{in} are drawn in
    equal pairs (Kaiming uniform, from torch's global generator), which undo each other: the model starts as
    the base model up to rounding. Trainable parameters: Σ r·in over the target matrices.

    Source: Yuan, Liu and Xu 2024 (arXiv 2405.17484), section 3.

    Args:
        rank: r, the number of reflections; even, so that they start in pairs.
        targets: roles of the model map.

    >>> HRA().rank
    8
    """

    kind: str = "hra"
    source: ClassVar[str] = "Yuan et al. 2024, arXiv 2405.17484, section 3"
    rank: Annotated[int, Field(ge=2, multiple_of=2)] = 8

    def config(self, encoder: "Encoder", tower: str, layers: "dict[str, nn.Linear]") -> "HRAConfig":
        """HRA without orthogonalising the vectors."""
        from peft import HRAConfig

        return HRAConfig(r=self.rank, apply_GS=False, target_modules=exactly(layers), bias="none")
