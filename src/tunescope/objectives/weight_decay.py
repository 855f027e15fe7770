"""Weight decay as a term of the loss."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.objectives.objective import Penalty, Shown

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from tunescope.data.examples import Examples
    from tunescope.models.encoder import Encoder
    from tunescope.objectives.anchor import Anchor


class WeightDecay(Penalty):
    """Holds the encoder's trained parameters to zero.

    P = weight / 2 · ‖θ‖²

    θ are all of the encoder's trained parameters, biases and norms among them; the head is left free, as by
    `l2_sp`, which holds the same parameters to where they started. With an adapter θ are its own, and at zero
    the model is, for most, the base model.

    As a term of the loss its gradient λ·θ goes through the optimiser: Adam divides it by the root of the
    gradients' second moment, so that weights with large gradients decay less. `weight_decay` of AdamW is
    subtracted beside that, at the same rate for all matrices of encoder and head, and spares the vectors.

    Source: Krogh & Hertz 1992 (NIPS 4), "A Simple Weight Decay Can Improve Generalization", equation 1; the
    difference to decoupled decay: Loshchilov & Hutter 2019 (arXiv 1711.05101), section 2.

    Args:
        weight: λ.
    """

    kind: str = "weight_decay"
    source: ClassVar[str] = "Krogh & Hertz 1992, equation 1"
    weight: Annotated[float, Field(gt=0)] = 1e-4

    def prepare(self, encoder: "Encoder", tower: str, examples: "Examples") -> "Anchor":
        """The trained parameters, anchored at zero."""
        from tunescope.objectives.anchor import Anchor, trained

        return Anchor(trained(encoder), {})

    def value(self, state: "Anchor", shown: Shown, indices: "NDArray") -> "Tensor":
        """Half the weighted squared norm."""
        return self.weight / 2 * state.squared()
