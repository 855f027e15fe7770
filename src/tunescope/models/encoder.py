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

Texts = Sequence[str] | Sequence[Sequence[str]]  # one text each, or pairs of two


class Encoder:
    """A pretrained transformer encoder with its map, preprocessing and tokenizer.

    Args:
        name: what it was loaded by.
        model: in evaluation mode, float32, the attention seam installed.
        map: where each role is.
        preprocess: how images are resized and normalised; None where there is no vision tower.
        tokenizer: None where there is no text tower.
        max_tokens: where texts are cut; None is where the model's positions end.
    """

    def __init__(
        self,
        name: str,
        model: PreTrainedModel,
        map: ModelMap,
        preprocess: Preprocess | None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        max_tokens: int | None = None,
    ):
        self.name = name
        self.model: Any = model  # PreTrainedModel; its families' attributes are not in that type
        self.map = map
        self.preprocess = preprocess
        self.tokenizer = tokenizer
        self._max_tokens = max_tokens

    @property
    def joint(self) -> bool:
        """Whether images and texts share a space, so that names of classes make a head."""
        return {"vision", "text"} <= self.map.towers.keys()

    @property
    def feature_dim(self) -> int:
        """Size of the features: one number, because towers that stand side by side share a space."""
        return next(iter(self.map.towers.values())).feature_dim

    @property
    def max_tokens(self) -> int:
        """Tokens of a text, special ones included, beyond which it is cut.

        Raises:
            MethodError: no text tower.
        """
        allowed = self.map.tower("text").max_tokens
        assert allowed is not None  # every text tower says it
        return self._max_tokens or allowed

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    @property
    def logit_scale(self) -> Float[Tensor, ""]:
        """Exp of the learned log-temperature.

        Raises:
            ModelError: images and texts share no space.
        """
        return self._joint().logit_scale.exp().reshape(())

    @property
    def logit_bias(self) -> Float[Tensor, ""]:
        """SigLIP's learned bias of the logits; 0 for CLIP.

        Raises:
            ModelError: images and texts share no space.
        """
        bias = getattr(self._joint(), "logit_bias", None)
        return torch.zeros((), device=self.device) if bias is None else bias.reshape(())

    def pixels(
        self, images: UInt8[Tensor, "b h w 3"] | UInt8[np.ndarray, "b h w 3"]
    ) -> Float[Tensor, "b 3 h w"]:
        """(x / 255 − mean) / std, on the model's device; resizing was done by `Preprocess.array`.

        Raises:
            MethodError: no vision tower.
        """
        self.map.tower("vision")
        assert self.preprocess is not None  # load() gives every vision tower its preprocessing
        # a copy: torch warns of arrays that are read-only, as memory-mapped ones are
        given = images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
        x = given.to(self.device).permute(0, 3, 1, 2).float() / 255
        mean = torch.tensor(self.preprocess.mean, device=self.device).view(3, 1, 1)
        std = torch.tensor(self.preprocess.std, device=self.device).view(3, 1, 1)
        return (x - mean) / std

    def features(self, inputs: Shaped[np.ndarray, "b ..."]) -> Float[Tensor, "b d"]:
        """What the tower that reads such inputs is read by, not normalised.

        Args:
            inputs: images, uint8 [b, S, S, 3]; texts, an array of `str` objects [b]; or pairs of texts,
                [b, 2].

        Raises:
            MethodError: the model has no tower that reads images.
            ModelError: none that reads texts, or none that reads pairs of them.
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

    def text_features(self, texts: Texts) -> Float[Tensor, "b d"]:
        """What the text tower is read by, not normalised; too long texts are cut.

        The joint space where there is one, else the pooled token after the last block ([CLS]): a pooler that
        a checkpoint may have on top (BERT's, trained on next sentences) is no part of it.

        Raises:
            ModelError: no text tower, or pairs for one that reads single texts.
        """
        chunks = [self.tokens(texts[i : i + TEXT_BATCH]) for i in range(0, len(texts), TEXT_BATCH)]
        if not chunks:
            return torch.zeros(0, self.map.tower("text").feature_dim, device=self.device)
        if self.joint:
            return torch.cat([_pooled(self.model.get_text_features(**chunk)) for chunk in chunks])
        return torch.cat([self.model(**chunk).last_hidden_state[:, 0] for chunk in chunks])

    def tokens(self, texts: Texts) -> dict[str, Tensor]:
        """Token ids as the family was trained on, on the model's device, cut at `max_tokens`.

        Padded to the longest, with a mask. Of a pair that is too long, the longer text is cut; where the
        model tells the two apart, `token_type_ids` do. SigLIP: lower case, no punctuation, padded to the full
        length, no mask: its padding is attended to.

        Raises:
            ModelError: no text tower, or pairs for one that reads single texts.
        """
        if self.tokenizer is None:
            raise ModelError(
                f"model {self.name!r} ({self.map.family}) has no text tower: no text features. Use a model "
                "that reads texts, such as BERT or CLIP"
            )
        columns = _columns(texts)
        if len(columns) > 1 and self.joint:
            raise ModelError(
                f"model {self.name!r} ({self.map.family}) reads one text at a time, not pairs of them; use a "
                "text encoder such as BERT, or join the two"
            )
        whole = self.map.family == "siglip"
        if whole:
            columns = [[canonical(text) for text in column] for column in columns]
        types = getattr(self.model.config, "type_vocab_size", 0) > 1  # RoBERTa has one, DeBERTa-v3 none
        batch = self.tokenizer(
            columns[0],
            columns[1] if len(columns) > 1 else None,
            padding="max_length" if whole else True,
            truncation="longest_first",
            max_length=self.max_tokens,
            return_tensors="pt",
            return_attention_mask=not whole,
            return_token_type_ids=types,
        )
        names = ["input_ids"] + ["attention_mask"] * (not whole) + ["token_type_ids"] * types
        return {name: batch[name].to(self.device) for name in names}

    def _joint(self) -> Any:
        if not self.joint:
            other = "text" if "vision" in self.map.towers else "vision"
            raise ModelError(
                f"model {self.name!r} ({self.map.family}) has no {other} tower: no zero-shot head. "
                "Use a CLIP or SigLIP model, or a linear head"
            )
        return self.model


def canonical(text: str) -> str:
    """Lower case, no punctuation, single spaces: how SigLIP's training texts were cleaned (big_vision).

    >>> canonical(" A photo of a  Grinning-Face. ")
    'a photo of a grinningface'
    """
    return " ".join(text.lower().translate(str.maketrans("", "", string.punctuation)).split())


def _columns(texts: Texts) -> list[list[str]]:
    """All first texts and, of pairs, all second ones.

    >>> _columns([["a", "b"], ["c", "d"]])
    [['a', 'c'], ['b', 'd']]
    """
    pairs = [[text] if isinstance(text, str) else list(text) for text in texts]
    return [list(column) for column in zip(*pairs, strict=True)]


def _pooled(output) -> Tensor:
    return output if isinstance(output, Tensor) else output.pooler_output
