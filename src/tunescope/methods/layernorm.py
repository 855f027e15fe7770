"""Fine-tuning of the norms alone."""

from typing import TYPE_CHECKING, ClassVar

from tunescope.methods.method import Installed, Method

if TYPE_CHECKING:
    from tunescope.models.encoder import Encoder


class LayerNorm(Method):
    """Trains gain and bias of every norm of the tower: y = γ ⊙ (x − μ) / σ + β, γ and β unconstrained.

    The norms are the blocks' `norm1` and `norm2` by the model map, whatever their type, and every
    `nn.LayerNorm` of the tower beside them: before the first block (CLIP's `pre_layrnorm`), after the last
    one, and in a pooling head. Trainable parameters: Σ (weight + bias) over the norms.

    Source: Zhao et al. 2024 (arXiv 2312.11420), "LayerNorm-simple", where norms alone train.

    >>> LayerNorm().kind
    'layernorm'
    """

    kind: str = "layernorm"
    source: ClassVar[str] = "Zhao et al. 2024, arXiv 2312.11420"

    def install(self, encoder: "Encoder", tower: str = "vision") -> Installed:
        """Unfreeze the norms. Raises MethodError where the model has no such tower."""
        from torch import nn

        from tunescope.methods.tower_parameters import parameters_below, tower_parameters

        found = encoder.map.tower(tower)
        norms = [path for block in found.blocks for path in (block.norm1, block.norm2) if path]
        norms += [path for path, module in encoder.model.named_modules() if isinstance(module, nn.LayerNorm)]
        own = tower_parameters(encoder.model, encoder.map, tower)
        trainable = {
            name: parameter
            for name, parameter in parameters_below(encoder.model, norms).items()
            if name in own
        }
        return Installed(encoder, tower, trainable)
