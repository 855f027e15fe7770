"""FourierFT through peft: a few entries of the change's spectrum."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.errors import MethodError
from tunescope.methods.peft_adapter import PeftMethod, exactly

if TYPE_CHECKING:
    from peft import FourierFTConfig
    from torch import nn

    from tunescope.models.encoder import Encoder


class FourierFT(PeftMethod):
    """Trains n entries of a sparse spectrum F: W = W₀ + α·Re(IDFT₂(F)).

    The inverse transform divides by the number of entries of W. Which entries are trained is drawn once, by
    `places`, for all matrices of one shape; the rest of F is zero. Here they start at zero, so that the model
    starts as its base; the paper draws them from N(0, 1).
    Trainable parameters: n for every target matrix.

    Source: Gao et al. 2024 (arXiv 2405.03003), section 3.2, equations 2 to 4.

    Args:
        entries: n, at most the number of entries of every target matrix.
        scale: α.
        places: seed of the places in the spectrum; the same in every run, whatever the run's seed.
        targets: roles of the model map.

    >>> FourierFT(entries=500).scale
    150.0
    """

    kind: str = "fourierft"
    source: ClassVar[str] = "Gao et al. 2024, arXiv 2405.03003, section 3.2"
    entries: Annotated[int, Field(ge=1)] = 1000
    scale: Annotated[float, Field(gt=0)] = 150.0
    places: Annotated[int, Field(ge=0)] = 777

    def config(self, encoder: "Encoder", tower: str, layers: "dict[str, nn.Linear]") -> "FourierFTConfig":
        """FourierFT from a spectrum of zeros.

        Raises:
            MethodError: more entries than a matrix has.
        """
        from peft import FourierFTConfig

        for path, layer in layers.items():
            if self.entries > layer.weight.numel():
                raise MethodError(
                    f"fourierft: entries={self.entries}, but {path} has {layer.weight.numel()}; "
                    "give at most so many"
                )
        return FourierFTConfig(
            n_frequency=self.entries,
            scaling=self.scale,
            random_loc_seed=self.places,
            init_weights=True,
            target_modules=exactly(layers),
            bias="none",
        )
