"""Where the pooling token looks, as one small map per image: rolled out through the layers, and in each."""

import hashlib
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tunescope.data.sample import spread
from tunescope.models import rows as on
from tunescope.models.encoder import Encoder
from tunescope.models.seam import BlockRows, watch


def pictures(encoder: Encoder, images: UInt8[np.ndarray, "n s s 3"], count: int) -> dict[str, np.ndarray]:
    """Attention over patches on images spread evenly over the set, all of one forward pass.

    Returns:
        `attention.images`, uint8 [K, S, S, 3].
        `attention.image_ids`, uint8 [K, 8]: the first bytes of the sha256 of each image's pixels, by which
        maps of one image are known.
        `attention.rollout`, float32 [K, grid, grid]: per image the pooled row of the rollout over patches, of
        sum 1; where an attention head pools, its probe row, averaged over heads.
        `attention.pooled`, float16 [K, L, grid, grid]: per image and layer the pooling token's row over
        patches, averaged over heads and then renormalised to a sum of 1; where an attention head pools, L is
        1 and the row is that head's.
    """
    place = encoder.map.tower("vision")
    assert place.grid is not None
    some = np.asarray(images[spread(count, len(images))])
    with torch.no_grad():
        pixels = encoder.pixels(some)
        if place.pooling == "cls":
            reduce = partial(_between_tokens, place.prefix_keys, place.prefix_tokens)
            with watch(encoder, "vision", "all", reduce=reduce) as seen:
                encoder.image_features(pixels)
            layers, pooled = zip(*(seen.reduced[i] for i in range(len(place.blocks))), strict=True)
            row = on.rollout(layers, place.prefix_tokens)[:, 0]
        else:
            with watch(encoder, "vision") as seen:
                encoder.image_features(pixels)
            row = _over_patches(seen.logits[-1], seen.prefix_tokens)
            pooled = (row,)
    side = (len(some), -1, *place.grid)
    return {
        "attention.rollout": row.cpu().numpy().astype(np.float32).reshape(len(some), *place.grid),
        "attention.pooled": torch.stack(pooled, 1).cpu().numpy().astype(np.float16).reshape(side),
        "attention.images": some,
        "attention.image_ids": np.stack([_id(image) for image in some]),
    }


def _between_tokens(
    prefix_keys: int, prefix_tokens: int, block: BlockRows
) -> tuple[Float[Tensor, "b 1 n n"], Float[Tensor, "b p"]]:
    """Of one block the mean over heads, and token 0's row of it over patches.

    Each row is renormalised over tokens: nothing flows from a key of no token.
    """
    logits = block.logits[..., prefix_keys:]
    return logits.softmax(-1).mean(1, keepdim=True), _over_patches(logits[:, :, 0], prefix_tokens)


def _over_patches(logits: Float[Tensor, "b h n"], prefix: int) -> Float[Tensor, "b p"]:
    """Mean over heads of a row, over patches alone, of sum 1.

    In logarithms, so that a row whose mass on the patches underflows still has its shape.
    """
    return logits.log_softmax(-1)[..., prefix:].logsumexp(1).softmax(-1)


def _id(image: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "8"]:
    return np.frombuffer(hashlib.sha256(image.tobytes()).digest()[:8], np.uint8)
