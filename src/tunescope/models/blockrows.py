"""Every row of one block's attention, as a reducer gets to see it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class BlockRows:
    """Every row of one block's attention, alive only while it is reduced.

    Args:
        block: index from 0.
        logits: scaled and masked, at least float32; −∞ where a key is hidden. Queries are tokens; keys are
            those of prefix tuning and then the tokens in the same order, a text's prompts first.
        real: which tokens are real (padding and prompts out); these are the queries worth averaging over.
        value_norms: ‖v_j‖, where asked for.
    """

    block: int
    logits: Float[Tensor, "b h q k"]
    real: Bool[Tensor, "b q"]
    value_norms: Float[Tensor, "b h k"] | None

    @property
    def rows(self) -> Float[Tensor, "b h q k"]:
        """Attention probabilities: softmax of `logits`."""
        return self.logits.softmax(-1)

    @property
    def mask(self) -> Bool[Tensor, "b h q k"]:
        """Which keys each query sees."""
        return self.logits > -torch.inf


Reducer = Callable[[BlockRows], Any]
