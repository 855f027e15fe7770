"""A head that is the text tower itself: captions to learn from, and the zero-shot head of this moment."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tunescope.models.encoder import Encoder
from tunescope.models.heads import class_embeddings, zero_shot_logits
from tunescope.models.modelmap import module_at


class _Known(NamedTuple):
    """Class embeddings, and what tells that the text tower still is the one that made them."""

    weights: list[int]
    one: Tensor
    embeddings: Tensor


class CaptionHead(nn.Module):
    """logits = scale · features / ‖features‖ · Wᵀ + bias, W made of prompts by the text tower as it now is.

    In evaluation mode W is kept and made anew when the text tower gives something else: when a weight of it
    has changed, or an adapter in it is switched. W carries no gradients; `captions` does. A copy of the head
    has a copy of the encoder, unless both are copied together.

    The head's own state is scale and bias alone: the text tower is the encoder's.

    Args:
        encoder: with a text tower in the space of the images.
        class_names: in the order of the labels.
        templates: prompts with one `{}` for a class name.
        trained: whether the scale, and SigLIP's bias, are trained.

    Raises:
        ModelError: images and texts share no space.
        DataError: no class name, no template, or a template without `{}`.
    """

    def __init__(self, encoder: Encoder, class_names: Sequence[str], templates: Sequence[str], trained: bool):
        super().__init__()
        with torch.no_grad():
            class_embeddings(encoder, class_names[:1], templates)  # whether it can be done at all
            scale, bias = encoder.logit_scale.log().clone(), encoder.logit_bias.clone()
        self.log_scale = nn.Parameter(scale, requires_grad=trained)
        self.bias = nn.Parameter(bias, requires_grad=trained and encoder.map.family == "siglip")
        self.encoder = encoder  # no module, so that its parameters stay its own
        self.class_names, self.templates = tuple(class_names), tuple(templates)
        self._known: _Known | None = None

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b classes"]:
        """The logits over all classes."""
        return self.logits(features, self._embeddings())

    def logits(self, features: Float[Tensor, "b d"], texts: Float[Tensor, "t d"]) -> Float[Tensor, "b t"]:
        """Every image with every text, a unit vector each; float32, whatever autocast says."""
        with torch.autocast(features.device.type, enabled=False):
            return zero_shot_logits(features.float(), texts.float(), self.log_scale.exp(), self.bias)

    def captions(self, labels: Int[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """A caption for every label, its template drawn at random: unit vectors, with gradients.

        Draws from torch's global generator. Equal captions of a batch are encoded once.
        """
        count = len(self.templates)
        drawn = labels.cpu() * count + torch.randint(count, labels.shape)
        each, place = torch.unique(drawn, return_inverse=True)
        prompts = [
            self.templates[i % count].replace("{}", self.class_names[i // count]) for i in each.tolist()
        ]
        texts = nn.functional.normalize(self.encoder.text_features(prompts), dim=-1)
        return texts[place.to(texts.device)]

    @torch.no_grad()
    def _embeddings(self) -> Float[Tensor, "classes d"]:
        """W: weights are compared by their hashes, and what else may differ by one class's embedding."""
        if self.training:
            return class_embeddings(self.encoder, self.class_names, self.templates)
        known, weights = self._known, self._weights()
        one = class_embeddings(self.encoder, self.class_names[:1], self.templates)
        if known is None or known.weights != weights or not torch.equal(known.one, one):
            found = class_embeddings(self.encoder, self.class_names, self.templates)
            known = self._known = _Known(weights, one, found)
        return known.embeddings

    def _weights(self) -> list[int]:
        """A hash of every tensor of the text tower, whatever way it was written to."""
        tower = self.encoder.map.tower("text")
        parts = [module_at(self.encoder.model, path) for path in (tower.path, *tower.final)]
        hashes = [torch.hash_tensor(tensor) for part in parts for tensor in part.state_dict().values()]
        return torch.stack(hashes).tolist()
