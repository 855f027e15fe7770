"""What enters a block, kept for every example of one set, and laid out as a batch again."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from tunescope.models.encoder import Encoder


class OfImages(NamedTuple):
    """Of images, which all have as many tokens.

    Args:
        kept: on the encoder's device, in the type that the tower computed them in.
        size: pixels of the images' sides.
    """

    kept: Float[Tensor, "n t c"]
    size: int

    def batch(self, encoder: Encoder, indices: Int64[np.ndarray, " b"]) -> Float[Tensor, "b t c"]:
        """What enters the block of these images."""
        return self.kept[torch.from_numpy(indices).to(self.kept.device)]

    def features(self, encoder: Encoder, indices: Int64[np.ndarray, " b"]) -> Float[Tensor, "b d"]:
        """The encoder's own forward pass, in which pixels are never looked at: one zero, seen many times."""
        pixels = torch.zeros((), device=self.kept.device).expand(len(indices), 3, self.size, self.size)
        return encoder.image_features(pixels)


class OfTexts(NamedTuple):
    """Of texts, each as long as it is; where a batch is padded there are zeros, which nothing looks at.

    Args:
        kept: of the real tokens, text after text.
        ends: how many tokens there are up to the end of each text.
        texts: or pairs of them.
    """

    kept: Float[Tensor, "m c"]
    ends: Int64[np.ndarray, " n"]
    texts: Shaped[np.ndarray, "n ..."]

    def batch(self, encoder: Encoder, indices: Int64[np.ndarray, " b"]) -> Float[Tensor, "b t c"]:
        """What enters the block of these texts, padded to the longest of them."""
        real = real_tokens(encoder, self.texts[indices])
        begin = np.concatenate([[0], self.ends])[indices]
        laid = self.kept.new_zeros(*real.shape, self.kept.shape[-1])
        laid[real] = torch.cat([self.kept[a:b] for a, b in zip(begin, self.ends[indices], strict=True)])
        return laid

    def features(self, encoder: Encoder, indices: Int64[np.ndarray, " b"]) -> Float[Tensor, "b d"]:
        """The encoder's own forward pass: how it pads, and which token it reads, is in the texts' ids."""
        return encoder.features(self.texts[indices])


Entering = OfImages | OfTexts


def real_tokens(encoder: Encoder, texts: Shaped[np.ndarray, "b ..."]) -> Bool[Tensor, "b t"]:
    """Which tokens of a batch are no padding; all of them, where the model attends to padding (SigLIP)."""
    tokens = encoder.tokens(texts.tolist())
    return tokens.get("attention_mask", torch.ones_like(tokens["input_ids"])).bool()
