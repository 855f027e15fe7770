"""Orthogonal fine-tuning through peft."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.errors import MethodError
from tunescope.methods.peft_adapter import PeftMethod, exactly

if TYPE_CHECKING:
    from peft import OFTConfig
    from torch import nn

    from tunescope.models.encoder import Encoder


class OFT(PeftMethod):
    """Trains a rotation of the inputs of chosen matrices: W = W₀·Rᵀ, R = diag(R₁, …, R_{in/b}), RᵢᵀRᵢ = I.

    Every block is the Cayley transform of a skew-symmetric matrix, Rᵢ = (I − Qᵢ)(I + Qᵢ)⁻¹, exactly, not by
    peft's series; Q starts at zero. Angles between the rows of W, and their norms, stay as they are.
    Trainable parameters: Σ in·(b − 1) / 2 over the target matrices.

    Source: Qiu et al. 2023 (arXiv 2306.07280), sections 3.2 and 3.3; on the side of the inputs, Qiu et al.
    2025 (arXiv 2506.19847), section 3.

    Args:
        block_size: b; it divides the input size of every target.
        targets: roles of the model map.

    >>> OFT().block_size
    32
    """

    kind: str = "oft"
    source: ClassVar[str] = "Qiu et al. 2023, arXiv 2306.07280, section 3"
    block_size: Annotated[int, Field(ge=2)] = 32

    def config(self, encoder: "Encoder", tower: str, layers: "dict[str, nn.Linear]") -> "OFTConfig":
        """OFT with the exact Cayley transform.

        Raises:
            MethodError: the block size does not divide a target's input size.
        """
        from peft import OFTConfig

        for path, layer in layers.items():
            if layer.in_features % self.block_size:
                raise MethodError(
                    f"oft: block_size={self.block_size} does not divide the {layer.in_features} inputs of "
                    f"{path}; give a divisor of {layer.in_features}"
                )
        return OFTConfig(
            r=0,
            oft_block_size=self.block_size,
            use_cayley_neumann=False,
            target_modules=exactly(layers),
            bias="none",
        )
