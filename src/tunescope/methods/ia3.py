"""(IA)³ through peft: learned scales of keys, values and hidden units."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.methods.peft_adapter import PeftMethod, exactly

if TYPE_CHECKING:
    from peft import IA3Config
    from torch import nn

    from tunescope.models.encoder import Encoder


class IA3(PeftMethod):
    """Trains a scale of chosen layers' outputs, y = l ⊙ (W₀·x + b), of fc2's inputs, y = W₀·(l ⊙ x) + b.

    l starts at one. With the targets of the paper, keys, values and the hidden units of the MLP are scaled.
    Where one matrix makes queries too (ModernBERT), those are scaled with keys and values.
    It amounts to W = diag(l)·W₀ with the bias l ⊙ b, and to W = W₀·diag(l) for fc2.
    Trainable parameters: Σ out over the target matrices, in for fc2.

    Source: Liu et al. 2022 (arXiv 2205.05638), section 3.3.

    Args:
        targets: roles of the model map.

    >>> IA3().targets
    ('k', 'v', 'fc2')
    """

    kind: str = "ia3"
    source: ClassVar[str] = "Liu et al. 2022, arXiv 2205.05638, section 3.3"
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("k", "v", "fc2")

    def config(self, encoder: "Encoder", tower: str, layers: "dict[str, nn.Linear]") -> "IA3Config":
        """(IA)³ with the inputs of fc2 scaled and the outputs of all else."""
        from peft import IA3Config

        blocks = [block for found in encoder.map.towers.values() for block in found.blocks]
        hidden = {block.fc2 for block in blocks}
        return IA3Config(
            target_modules=exactly(layers),
            feedforward_modules=exactly(path for path in layers if path in hidden),
        )
