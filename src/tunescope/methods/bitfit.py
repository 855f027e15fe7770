"""BitFit: nothing but the biases."""

from typing import TYPE_CHECKING, ClassVar

from tunescope.errors import MethodError
from tunescope.methods.method import Installed, Method

if TYPE_CHECKING:
    from tunescope.models.encoder import Encoder


class BitFit(Method):
    """Trains every bias of the tower and no other parameter: y = W₀·x + (b₀ + Δb).

    Biases of attention, MLPs and norms, of the patch embedding and the final parts (SigLIP's pooling head
    included), wherever the model has one. Trainable parameters: Σ sizes of the biases.

    Source: Ben Zaken, Ravfogel and Goldberg 2022 (arXiv 2106.10199), section 3.

    >>> BitFit().kind
    'bitfit'
    """

    kind: str = "bitfit"
    source: ClassVar[str] = "Ben Zaken et al. 2022, arXiv 2106.10199, section 3"

    def install(self, encoder: "Encoder", tower: str = "vision") -> Installed:
        """Unfreeze the biases. Raises MethodError where the tower has none."""
        from tunescope.methods.tower_parameters import tower_parameters

        # nn.MultiheadAttention, in SigLIP's pooling head, calls its bias `in_proj_bias`
        biases = {
            name: parameter
            for name, parameter in tower_parameters(encoder.model, encoder.map, tower).items()
            if name.rpartition(".")[2].endswith("bias")
        }
        if not biases:
            raise MethodError(
                f"bitfit: the {tower} tower of {encoder.name} ({encoder.map.family}) has no biases; "
                "use layernorm or lora"
            )
        return Installed(encoder, tower, biases)
