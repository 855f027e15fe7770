"""From features to logits: a linear head that starts at zero, and a zero-shot head made of prompts."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tunescope.errors import DataError
from tunescope.models.encoder import Encoder


class LinearHead(nn.Module):
    """logits = features · Wᵀ + b, with W = 0 and b = 0 at the start: every class is equally likely.

    Args:
        feature_dim: size of the encoder's features.
        classes: number of classes.

    >>> LinearHead(3, 4)(torch.tensor([[5.0, -1.0, 2.0]])).softmax(-1).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    def __init__(self, feature_dim: int, classes: int):
        super().__init__()
        self.linear = nn.Linear(feature_dim, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b classes"]:
        """The logits."""
        return self.linear(features)


class TextHead(nn.Module):
    """logits = scale · features / ‖features‖ · Wᵀ + bias.

    Args:
        weight: one unit vector per class; trainable, as WiSE-FT's head that starts from prompts.
        scale: exp of the model's log-temperature; fixed.
        bias: of every logit (SigLIP); fixed.

    >>> head = TextHead(torch.eye(2), torch.tensor(10.0), torch.tensor(0.0))
    >>> head(torch.tensor([[3.0, 4.0]])).tolist()
    [[6.0, 8.0]]
    """

    scale: Tensor
    bias: Tensor

    def __init__(self, weight: Float[Tensor, "classes d"], scale: Float[Tensor, ""], bias: Float[Tensor, ""]):
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.register_buffer("scale", scale.detach().clone())
        self.register_buffer("bias", bias.detach().clone())

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b classes"]:
        """The logits."""
        return zero_shot_logits(features, self.weight, self.scale, self.bias)


def zero_shot_logits(
    features: Float[Tensor, "b d"],
    texts: Float[Tensor, "classes d"],
    scale: Float[Tensor, ""],
    bias: Float[Tensor, ""],
) -> Float[Tensor, "b classes"]:
    """Logits z = scale · features / ‖features‖ · textsᵀ + bias, of texts that are unit vectors.

    >>> one = torch.tensor(1.0)
    >>> zero_shot_logits(torch.tensor([[3.0, 4.0]]), torch.eye(2), 10 * one, -one).tolist()
    [[5.0, 7.0]]
    """
    return scale * nn.functional.normalize(features, dim=-1) @ texts.T + bias


@torch.no_grad()
def text_head(encoder: Encoder, class_names: Sequence[str], templates: Sequence[str]) -> TextHead:
    """The zero-shot head, made of the class names by the text tower as it is now; see `class_embeddings`."""
    weight = class_embeddings(encoder, class_names, templates)
    return TextHead(weight, encoder.logit_scale, encoder.logit_bias)


def class_embeddings(
    encoder: Encoder, class_names: Sequence[str], templates: Sequence[str]
) -> Float[Tensor, "classes d"]:
    """w_c ∝ Σ_t e(t, c) / ‖e(t, c)‖, rescaled to ‖w_c‖ = 1 (Radford et al. 2021, §3.1.4), with gradients.

    Args:
        encoder: with a text tower.
        class_names: in the order of the labels.
        templates: such as "a photo of a {}."; `{}` is where the name goes.

    Raises:
        ModelError: no text tower.
        DataError: no class name, no template, or a template without `{}`.
    """
    if not class_names or not templates:
        raise DataError(
            f"a zero-shot head needs class names and templates; got {len(class_names)} and {len(templates)}"
        )
    for template in templates:
        if "{}" not in template:
            raise DataError(
                f"template {template!r} has no {{}} for the class name; such as 'a photo of a {{}}.'"
            )
    prompts = [template.replace("{}", name) for name in class_names for template in templates]
    each = nn.functional.normalize(encoder.text_features(prompts), dim=-1)
    mean = each.view(len(class_names), len(templates), -1).mean(1)
    return nn.functional.normalize(mean, dim=-1)
