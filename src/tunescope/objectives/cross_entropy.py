"""Cross-entropy over the classes of the task."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from tunescope.objectives.objective import Objective

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tunescope.models.encoder import Encoder


class CrossEntropy(Objective):
    """Classification loss: ℓ = −Σ_c t_c · ln softmax(z)_c, averaged over the batch.

    With label smoothing ε and C classes the target is t_c = (1 − ε)·[c = y] + ε / C.

    Source: Szegedy et al. 2016 (arXiv 1512.00567), section 7 for the smoothing; Wortsman et al. 2022
    (arXiv 2109.01903), section 2 for a head that starts from prompts.

    Args:
        head: `linear` starts from zeros, so every class is equally likely; `text` starts from the
            class names' prompt embeddings, so the untuned model is the zero-shot classifier (needs a text
            tower).
        label_smoothing: ε.

    >>> import torch
    >>> logits = torch.zeros(2, 4)
    >>> loss = CrossEntropy().loss(torch.nn.Identity(), logits, torch.tensor([0, 3]))  # uniform: ln 4
    >>> round(loss.item(), 4)
    1.3863
    """

    kind: str = "cross_entropy"
    source: ClassVar[str] = "Szegedy et al. 2016, arXiv 1512.00567, section 7"
    head: Literal["linear", "text"] = "linear"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def build_head(
        self, encoder: "Encoder", class_names: Sequence[str], templates: Sequence[str]
    ) -> "nn.Module":
        """A `LinearHead` or a `TextHead`, every weight of it to be trained.

        Raises:
            ModelError: a text head on a model without a text tower.
        """
        from tunescope.models.heads import LinearHead, text_head

        if self.head == "linear":
            return LinearHead(encoder.feature_dim, len(class_names))
        return text_head(encoder, class_names, templates)

    def loss(self, head: "nn.Module", features: "Tensor", labels: "Tensor") -> "Tensor":
        """Mean cross-entropy of the head's logits "b classes" with labels "b", in nats."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(head(features).float(), labels, label_smoothing=self.label_smoothing)
