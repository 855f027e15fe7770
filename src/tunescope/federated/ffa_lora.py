"""FFA-LoRA: only B is trained."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from tunescope.federated.mean import mean
from tunescope.federated.strategy import Held, Joined, Part, Strategy, alike, frozen


class FFALoRA(Strategy):
    """Freezes A as it was drawn, the same for all, and averages B: exact, as Σ p_k·B_k·A = (Σ p_k·B_k)·A.

    Half of what LoRA trains is trained and sent.

    Source: Sun et al. 2024 (arXiv 2403.12313).

    >>> FFALoRA().trained(round=1)
    ('b',)
    """

    kind: str = "ffa_lora"
    source: ClassVar[str] = "Sun et al. 2024, arXiv 2403.12313"
    exact: ClassVar[bool] = True

    def trained(self, round: int) -> tuple[Part, ...]:
        """B alone."""
        return ("b",)

    def join(self, target: str, held: Sequence[Held], round: int) -> Joined:
        """A as it is, and the mean of B."""
        alike(self.kind, target, held)
        frozen(self.kind, target, held, "a")
        b = mean([one.factors.b for one in held], [one.share for one in held])
        return replace(held[0].factors, b=b), None
