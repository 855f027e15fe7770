"""Letting a model's modules hand out what they gave before, so that only the rest is computed again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped
from torch import Tensor, nn

if TYPE_CHECKING:
    from tunescope.models.encoder import Encoder

# What each module computes by, in the place of its own `forward`.
Forwards = Sequence[tuple[nn.Module, Callable[..., Any]]]


@contextmanager
def standing_in(forwards: Forwards) -> Iterator[None]:
    """Let each module compute by another function, its hooks as they are."""
    found: list[tuple[nn.Module, Any]] = []
    try:
        for module, forward in forwards:
            found.append((module, module.__dict__.get("forward")))
            module.forward = forward
        yield
    finally:
        for module, before in reversed(found):
            if before is None:
                del module.forward
            else:
                module.forward = before


class Output:
    """What one module's own forward gave, without what hooks make of it: they act again when it is given."""

    def __init__(self, module: nn.Module):
        self._forward = module.forward
        self.whole: Any = None

    @property
    def tensor(self) -> Tensor:
        """The tensor alone, where the module gives more beside it."""
        return self.whole[0] if isinstance(self.whole, tuple) else self.whole

    def record(self, *args: Any, **kwargs: Any) -> Any:
        """Compute, and keep that."""
        self.whole = self._forward(*args, **kwargs)
        return self.whole

    def give(self, *args: Any, **kwargs: Any) -> Any:
        """What is kept."""
        return self.whole

    def give_as(self, tensor: Tensor) -> Any:
        """What is kept, with another tensor in it."""
        return (tensor, *self.whole[1:]) if isinstance(self.whole, tuple) else tensor


def reading_only(encoder: "Encoder", inputs: Shaped[np.ndarray, "b ..."]) -> "Encoder":
    """The encoder on the same model, which reads these inputs alone: their pixels or tokens are made once."""
    ours = copy(encoder)
    if inputs.dtype == np.uint8:
        pixels = encoder.pixels(inputs)
        ours.__dict__["pixels"] = lambda images: pixels
    else:
        tokens = encoder.tokens(inputs.tolist())
        ours.__dict__["tokens"] = lambda texts: tokens
    return ours
