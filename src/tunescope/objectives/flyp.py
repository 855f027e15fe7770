"""Tuning as the model was pretrained: images against captions of their classes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from tunescope.objectives.objective import Objective

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tunescope.models.encoder import Encoder


class FLYP(Objective):
    """Contrastive loss between the images of a batch and a caption for each: finetune like you pretrain.

    Every example gets the name of its class in a template drawn for it at every step. CLIP: InfoNCE, the mean
    of both directions, of logits scale · ⟨f_i, t_k⟩. SigLIP: its sigmoid loss of logits scale · ⟨f_i, t_k⟩ +
    bias. The head is the zero-shot head that the text tower makes of the class names at the moment, so that
    validation and transfer are measured as the paper does. As published both towers are tuned:
    `adapt: {kind: per_tower, vision: full, text: full}`; with `adapt: full` the text tower is frozen.

    Source: Goyal et al. 2023 (arXiv 2212.00638), section 3; temperature and its training as in the authors'
    code. Several positives: Yang et al. 2022 (UniCL, arXiv 2204.03610), section 3.2, after Khosla et al. 2020
    (arXiv 2004.11362), equation 2.

    Args:
        several_positives: False, as published: the other examples of a class in the batch are negatives.
            True: all captions of an image's class are its positives, with equal shares of the target. With
            one template both are the same for CLIP: captions of a class are then one text, whose logits are
            equal, and every share counts alike.
        temperature: `trained` from the model's own on, and SigLIP's bias with it, not limited (CLIP's own
            training kept the scale below 100); or `fixed`.
    """

    kind: str = "flyp"
    source: ClassVar[str] = "Goyal et al. 2023, arXiv 2212.00638, section 3"
    couples: ClassVar[bool] = True
    several_positives: bool = False
    temperature: Literal["trained", "fixed"] = "trained"

    def build_head(
        self, encoder: "Encoder", class_names: Sequence[str], templates: Sequence[str]
    ) -> "nn.Module":
        """A `CaptionHead`: its own state is scale and bias, all else is the encoder's text tower.

        Raises:
            ModelError: images and texts share no space, so there is nothing to contrast.
        """
        from tunescope.errors import ModelError
        from tunescope.objectives.caption_head import CaptionHead

        if not encoder.joint:
            raise ModelError(
                f"objective flyp: model {encoder.name!r} ({encoder.map.family}) has no text tower beside a "
                "vision tower in one space, and images are contrasted with captions there; take a CLIP or "
                "SigLIP model, or objective: cross_entropy"
            )
        return CaptionHead(encoder, class_names, templates, self.temperature == "trained")

    def loss(self, head: "nn.Module", features: "Tensor", labels: "Tensor") -> "Tensor":
        """The contrastive loss of the batch; templates are drawn from torch's global generator."""
        import torch

        from tunescope.objectives.caption_head import CaptionHead
        from tunescope.objectives.contrast import info_nce, sigmoid_pairs

        assert isinstance(head, CaptionHead)
        logits = head.logits(features, head.captions(labels))
        positives = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        if self.several_positives:
            positives = labels[:, None] == labels
        pretrained = sigmoid_pairs if head.encoder.map.family == "siglip" else info_nce
        return pretrained(logits, positives)
