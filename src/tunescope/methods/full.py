"""Full fine-tuning of one tower."""

from typing import TYPE_CHECKING, ClassVar

from tunescope.methods.method import Installed, Method

if TYPE_CHECKING:
    from tunescope.models.encoder import Encoder


class Full(Method):
    """Trains every parameter of the tower: θ = θ₀ + Δ, Δ unconstrained.

    Embeddings, blocks, the final norm and the tower's projection train; the other tower, and what no
    tower owns (CLIP's temperature), stay frozen. Trainable parameters: all of the tower.

    Source: Kornblith et al. 2019 (arXiv 1805.08974), section 3; the reference point of Hu et al. 2021
    (arXiv 2106.09685), section 2, ΔΦ with |ΔΦ| = |Φ₀|.

    >>> Full().kind
    'full'
    """

    kind: str = "full"
    source: ClassVar[str] = "Kornblith et al. 2019, arXiv 1805.08974, section 3"

    def install(self, encoder: "Encoder", tower: str = "vision") -> Installed:
        """Unfreeze the tower. Raises MethodError where the model has no such tower."""
        from tunescope.methods.tower_parameters import tower_parameters

        return Installed(encoder, tower, tower_parameters(encoder.model, encoder.map, tower))
