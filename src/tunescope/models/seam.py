"""The one seam: every look into attention and every change of it goes through here.

`install` once per model; then `watch` reads rows of attention beside the forward pass, and `gate` multiplies
the output of heads. Attention stays SDPA throughout. What is watched and gated is kept on the attention
modules themselves, so two encoders never mix.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from tunescope.errors import ModelError
from tunescope.models.blockrows import BlockRows
from tunescope.models.deberta_tap import tap
from tunescope.models.modelmap import ModelMap, module_at
from tunescope.models.tap import NAME, Call, attention_modules, listening, register
from tunescope.models.watch import Seen, watch

if TYPE_CHECKING:
    from tunescope.models.encoder import Encoder

__all__ = ["BlockRows", "Seen", "gate", "install", "watch"]


def install(model: PreTrainedModel, modelmap: ModelMap) -> None:
    """Let every block of every tower call the seam's attention function, in place.

    DeBERTa cannot: there hooks stand around its own. The name of the implementation is not saved with the
    model.

    Raises:
        ModelError: a block does not dispatch through transformers' attention interface.
    """
    if modelmap.family == "deberta-v2":
        for tower in modelmap.towers.values():
            tap(module_at(model, block.attention) for block in tower.blocks)
    else:
        register()
        model.set_attn_implementation(NAME)
    for tower in modelmap.towers.values():
        attention_modules(model, tower)


@contextmanager
def gate(encoder: "Encoder", tower: str, gates: Float[Tensor, "*b l h"]) -> Iterator[None]:
    """Multiply the output of every head, before the output projection, by its gate.

    A gate of 0 takes a head out exactly, as if its columns of the output projection were zero; 1 changes
    nothing. Gradients flow to the gates, per example where they have a batch dimension. Gates nest, and their
    product counts. With gradient checkpointing the backward pass belongs inside the context.

    Args:
        encoder: a loaded encoder.
        tower: `vision` or `text`.
        gates: one per block and head, for all examples or for each.

    Raises:
        ModelError: the shape is not that of the tower's heads.
    """
    place = encoder.map.tower(tower)
    expected = (len(place.blocks), place.heads)
    if gates.ndim not in (2, 3) or tuple(gates.shape[-2:]) != expected:
        raise ModelError(
            f"gates of shape {tuple(gates.shape)} for the {tower} tower; expected {expected} "
            f"(blocks, heads) or (examples, {expected[0]}, {expected[1]})"
        )
    modules = attention_modules(encoder.model, place)
    with listening([(module, partial(_apply, gates, i)) for i, module in enumerate(modules)]):
        yield


def _apply(gates: Tensor, block: int, call: Call, output: Float[Tensor, "b n h d"]) -> Tensor:
    if gates.ndim == 3 and len(gates) not in (1, len(output)):
        raise ModelError(f"gates for {len(gates)} examples met a batch of {len(output)}")
    ours = gates[..., block, :].to(output.dtype)
    return output * (ours[None, None, :, None] if gates.ndim == 2 else ours[:, None, :, None])
