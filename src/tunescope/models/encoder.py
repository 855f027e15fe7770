"""A loaded model as the rest of the house sees it: features, roles, preprocessing."""

import string
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tunescope.errors import ModelError
from tunescope.models.modelmap import ModelMap, module_at
from tunescope.models.preprocess import Preprocess

TEXT_BATCH = 256


class Encoder:
    """A pretrained transformer encoder with its map, preprocessing and tokenizer.

    Args:
        name: what it was loaded by.
        model: in evaluation mode, float32, the attention seam installed.
        map: where each role is.
        preprocess: how images are resized and normalised.
        tokenizer: None where there is no text tower.
    """

    def __init__(
        self,
        name: str,
        model: PreTrainedModel,
        map: ModelMap,
        preprocess: Preprocess,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ):
        self.name = name
        self.model: Any = model  # PreTrainedModel; its families' attributes are not in that type
        self.map = map
        self.preprocess = preprocess
        self.tokenizer = tokenizer

    @property
    def joint(self) -> bool:
        """Whether images and texts share a space, so that names of classes make a head."""
        return {"vision", "text"} <= self.map.towers.keys()

    @property
    def feature_dim(self) -> int:
        """Size of the features: one number, because towers that stand side by side share a space."""
        return next(iter(self.map.towers.values())).feature_dim

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    @property
    def logit_scale(self) -> Float[Tensor, ""]:
        """Exp of the learned log-temperature.

        Raises:
            ModelError: no text tower.
        """
        return self._joint().logit_scale.exp().reshape(())

    @property
    def logit_bias(self) -> Float[Tensor, ""]:
        """SigLIP's learned bias of the logits; 0 for CLIP.

        Raises:
            ModelError: no text tower.
        """
        bias = getattr(self._joint(), "logit_bias", None)
        return torch.zeros((), device=self.device) if bias is None else bias.reshape(())

    def pixels(
        self, images: UInt8[Tensor, "b h w 3"] | UInt8[np.ndarray, "b h w 3"]
    ) -> Float[Tensor, "b 3 h w"]:
        """(x / 255 − mean) / std, on the model's device; resizing was done by `Preprocess.array`."""
        # a copy: torch warns of arrays that are read-only, as memory-mapped ones are
        given = images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
        x = given.to(self.device).permute(0, 3, 1, 2).float() / 255
        mean = torch.tensor(self.preprocess.mean, device=self.device).view(3, 1, 1)
        std = torch.tensor(self.preprocess.std, device=self.device).view(3, 1, 1)
        return (x - mean) / std

    def features(self, inputs: Shaped[np.ndarray, "b ..."]) -> Float[Tensor, "b d"]:
        """What the tower that reads such inputs is read by, not normalised.

        Args:
            inputs: images, uint8 [b, S, S, 3]; or texts, an array of `str` objects [b].

        Raises:
            MethodError: the model has no tower that reads them.
        """
        if inputs.dtype == np.uint8:
            return self.image_features(self.pixels(inputs))
        return self.text_features(inputs.tolist())

    def image_features(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """What the vision tower is read by, not normalised.

        The joint space where there is one (CLIP, SigLIP: `image_embeds`), else the pooled token after the
        final norm (ViT, DINOv2: [CLS]). Through the model's own forward.
        """
        tower = self.map.tower("vision")
        if self.joint:
            return _pooled(self._joint().get_image_features(pixel_values=pixels))
        if tower.output == "image_embeds":
            return self.model(pixel_values=pixels).image_embeds
        output = module_at(self.model, tower.path)(pixel_values=pixels)
        return output.last_hidden_state[:, 0] if tower.output == "cls" else output.pooler_output

    def text_features(self, texts: Sequence[str]) -> Float[Tensor, "b d"]:
        """The texts in the joint space, not normalised; too long texts are cut.

        Raises:
            ModelError: no text tower.
        """
        model = self._joint()
        chunks = [texts[i : i + TEXT_BATCH] for i in range(0, len(texts), TEXT_BATCH)]
        if not chunks:
            return torch.zeros(0, self.map.tower("text").feature_dim, device=self.device)
        return torch.cat([_pooled(model.get_text_features(**self.tokens(chunk))) for chunk in chunks])

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Token ids as the family was trained on, on the model's device.

        CLIP: padded to the longest, with a mask. SigLIP: lower case, no punctuation, padded to the full
        length, no mask: its padding is attended to.

        Raises:
            ModelError: no text tower.
        """
        length = self._joint().config.text_config.max_position_embeddings
        assert self.tokenizer is not None  # load() gives every text tower its tokenizer
        whole = self.map.family == "siglip"
        batch = self.tokenizer(
            [canonical(text) for text in texts] if whole else list(texts),
            padding="max_length" if whole else True,
            truncation=True,
            max_length=length,
            return_tensors="pt",
            return_attention_mask=not whole,
        )
        names = ("input_ids",) if whole else ("input_ids", "attention_mask")
        return {name: batch[name].to(self.device) for name in names}

    def _joint(self) -> Any:
        if not self.joint:
            raise ModelError(
                f"model {self.name!r} ({self.map.family}) has no text tower: no zero-shot head, no text "
                "features. Use a CLIP or SigLIP model, or a linear head"
            )
        return self.model


def canonical(text: str) -> str:
    """Lower case, no punctuation, single spaces: how SigLIP's training texts were cleaned (big_vision).

    >>> canonical(" A photo of a  Grinning-Face. ")
    'a photo of a grinningface'
    """
    return " ".join(text.lower().translate(str.maketrans("", "", string.punctuation)).split())


def _pooled(output) -> Tensor:
    return output if isinstance(output, Tensor) else output.pooler_output
