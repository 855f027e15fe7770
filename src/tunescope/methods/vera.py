"""VeRA through peft: shared random matrices, trained scales."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.methods.peft_adapter import PeftMethod, exactly

if TYPE_CHECKING:
    from peft import VeraConfig
    from torch import nn

    from tunescope.models.encoder import Encoder


class VeRA(PeftMethod):
    """Trains two vectors around one frozen pair of random matrices: W = W₀ + Λ_b·B·Λ_d·A.

    A ∈ ℝ^{r×in} and B ∈ ℝ^{out×r} (Kaiming uniform, from torch's global generator) are shared by all targets,
    as large as the largest of them; smaller ones take a corner. Λ_b and Λ_d are diagonal: b ∈ ℝ^{out} starts
    at zero, d ∈ ℝ^r at `initial`. A and B are saved with what is trained.
    Trainable parameters: Σ r + out over the target matrices.

    Source: Kopiczko, Blankevoort and Asano 2023 (arXiv 2310.11454), section 3.1, equation 2.

    Args:
        rank: r, the same for all targets, because they share A and B; it may be larger than a matrix.
        initial: what every entry of d starts at.
        dropout: share of a target's inputs that is dropped on the way into A, while training.
        targets: roles of the model map.

    >>> VeRA().rank
    256
    """

    kind: str = "vera"
    source: ClassVar[str] = "Kopiczko et al. 2023, arXiv 2310.11454, section 3.1"
    rank: Annotated[int, Field(ge=1)] = 256
    initial: float = 0.1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def config(self, encoder: "Encoder", tower: str, layers: "dict[str, nn.Linear]") -> "VeraConfig":
        """VeRA whose matrices the run's seed decides."""
        import torch
        from peft import VeraConfig

        return VeraConfig(
            r=self.rank,
            d_initial=self.initial,
            vera_dropout=self.dropout,
            projection_prng_key=int(torch.randint(2**31, ())),
            save_projection=True,
            target_modules=exactly(layers),
            bias="none",
        )
