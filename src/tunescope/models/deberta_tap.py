"""DeBERTa's place for listeners: its attention is a function of its own, so hooks stand around it.

Positions enter its logits by products of their own, which no attention function that transformers could
call knows about. What it computes anyway is read: probabilities on their way into the dropout, and values as
they leave their projection. Without a listener nothing is read, and the output is the plain model's.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tunescope.models.tap import TAPPED, Call, heard, listened, taken

_HELD = "_tunescope_held"


@dataclass(frozen=True)
class Probabilities(Call):
    """A call of an attention that gives its probabilities.

    Args:
        rows: as they were before dropout.
    """

    rows: Float[Tensor, "b h q k"]

    def scores(self, row: Tensor | int | None) -> Float[Tensor, "b h q k"]:
        """Their logarithms. The floor keeps an underflown one from reading as masked."""
        found = self.rows if row is None else taken(self.rows, row)
        found = found.to(torch.promote_types(found.dtype, torch.float32))
        return found.clamp_min(torch.finfo(found.dtype).tiny).log()


def tap(modules: Iterable[nn.Module]) -> None:
    """Let DeBERTa's self-attention modules be listened to, in place. Doing it again changes nothing."""
    for module in modules:
        if TAPPED not in module.__dict__:
            module.__dict__[TAPPED] = True
            module.register_forward_pre_hook(_before)
            module.register_forward_hook(_after, with_kwargs=True)


def _before(module: nn.Module, args: tuple) -> None:
    """Have what will be computed kept: by what stands there now, as adapters replace projections."""
    _release(module)  # of a forward pass that raised
    if not listened(module):
        return
    found: dict[str, Tensor] = {}

    def probabilities(dropout: nn.Module, args: tuple) -> None:
        found["rows"] = args[0]

    def values(projection: nn.Module, args: tuple, output: Tensor) -> None:
        found["value"] = output

    module.__dict__[_HELD] = (
        found,
        module.get_submodule("dropout").register_forward_pre_hook(probabilities),
        module.get_submodule("value_proj").register_forward_hook(values),
    )


def _after(module: nn.Module, args: tuple, kwargs: dict[str, Any], output: tuple) -> tuple | None:
    found = _release(module)
    if not found:
        return None
    value = found["value"].unflatten(-1, (found["rows"].shape[1], -1)).transpose(1, 2)
    seen = (args[1] if len(args) > 1 else kwargs["attention_mask"]).bool()
    call = Probabilities(value, seen, causal=False, rows=found["rows"])
    context = output[0].unflatten(-1, (value.shape[1], -1))
    return (heard(module, call, context).flatten(2), *output[1:])


def _release(module: nn.Module) -> dict[str, Tensor] | None:
    held = module.__dict__.pop(_HELD, None)
    if held is None:
        return None
    found, *handles = held
    for handle in handles:
        handle.remove()
    return found
