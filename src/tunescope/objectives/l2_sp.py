"""Weight decay towards the pretrained weights instead of towards zero."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.objectives.objective import Penalty, Shown

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from tunescope.data.examples import Examples
    from tunescope.models.encoder import Encoder
    from tunescope.objectives.anchor import Anchor


class L2SP(Penalty):
    """Holds the encoder's trained parameters to where they started.

    P = weight / 2 · ‖θ − θ⁰‖²

    θ are the encoder's trained parameters; the head, which starts from nothing, is left free. With an adapter
    θ are its own parameters, and θ⁰ those at which the model is the base model.

    Source: Li, Grandvalet & Davoine 2018 (arXiv 1802.01483), section 3.1, equation 2, with β = 0.

    Args:
        weight: α.
    """

    kind: str = "l2_sp"
    source: ClassVar[str] = "Li, Grandvalet & Davoine 2018, arXiv 1802.01483, equation 2"
    weight: Annotated[float, Field(gt=0)] = 0.01

    def prepare(self, encoder: "Encoder", tower: str, examples: "Examples") -> "Anchor":
        """Remember where the trained parameters are."""
        from tunescope.objectives.anchor import Anchor

        return Anchor.of(encoder)

    def value(self, state: "Anchor", shown: Shown, indices: "NDArray") -> "Tensor":
        """Half the weighted squared distance from the start."""
        return self.weight / 2 * state.squared()
