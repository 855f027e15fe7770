"""Squared error of one number: regression."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from tunescope.objectives.objective import Objective

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tunescope.models.encoder import Encoder


class SquaredError(Objective):
    """Regression loss: ℓ = (z − y)², averaged over the batch.

    z is the one output of a linear head that starts from zeros, so the first prediction is 0 for everything;
    y are the labels as the data has them, neither scaled nor centred. In the square of their unit, not in
    nats. For data whose labels are numbers, such as GLUE's STS-B.

    Source: what BERT is fine-tuned on STS-B with (Devlin et al. 2019, arXiv 1810.04805, section 4.1, in their
    published code).

    >>> import torch
    >>> outputs, labels = torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 1.0], dtype=torch.float64)
    >>> SquaredError().loss(torch.nn.Identity(), outputs, labels).item()
    2.0
    """

    kind: str = "squared_error"
    source: ClassVar[str] = "Devlin et al. 2019, arXiv 1810.04805, section 4.1"
    regression: ClassVar[bool] = True

    def build_head(
        self, encoder: "Encoder", class_names: Sequence[str], templates: Sequence[str]
    ) -> "nn.Module":
        """A `LinearHead` with one output."""
        from tunescope.models.heads import LinearHead

        return LinearHead(encoder.feature_dim, 1)

    def loss(self, head: "nn.Module", features: "Tensor", labels: "Tensor") -> "Tensor":
        """Mean squared error of the head's outputs "b 1" against labels "b"."""
        return (head(features).float().squeeze(-1) - labels.float()).square().mean()
