"""The linear probe: a head on frozen features."""

from typing import TYPE_CHECKING, ClassVar

from tunescope.methods.method import Installed, Method

if TYPE_CHECKING:
    from tunescope.models.encoder import Encoder


class LinearProbe(Method):
    """Trains the head alone: θ = θ₀, logits = W·f(x; θ₀) + b.

    Trainable parameters in the encoder: none.

    Source: Kornblith et al. 2019 (arXiv 1805.08974), section 3.1, logistic regression on fixed
    features; Kumar et al. 2022 (arXiv 2202.10054), section 2.

    >>> LinearProbe().kind
    'linear_probe'
    """

    kind: str = "linear_probe"
    source: ClassVar[str] = "Kumar et al. 2022, arXiv 2202.10054, section 2"

    def install(self, encoder: "Encoder", tower: str = "vision") -> Installed:
        """Freeze everything. Raises MethodError where the model has no such tower."""
        encoder.map.tower(tower)
        return Installed(encoder, tower, {})
