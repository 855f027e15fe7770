"""Fed-SB: only a small core between two frozen factors is trained."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from tunescope.federated.mean import mean
from tunescope.federated.strategy import Held, Joined, Part, Strategy, alike, frozen


class FedSB(Strategy):
    """Trains and averages R in W = W₀ + s·B·R·A, with B and A frozen, the same for all: exact.

    Σ p_k·B·R_k·A = B·(Σ p_k·R_k)·A. A client sends r² numbers a target, however large the matrix.

    How B and A begin is ours: B with orthonormal columns, A as the method draws it, both from the seed, and R
    zero, so that tuning begins at W₀. The paper, after LoRA-SB (Ponkshe et al. 2024, arXiv 2411.19557), takes
    U, diag(σ) / s and Vᵀ of the first step of full tuning. Its code estimates that step on the data of all
    clients together; clients that keep theirs would each have to send a matrix [out, in] for every target, as
    much as the cores of out·in / r² rounds.

    Source: Singhal et al. 2025 (arXiv 2502.15436).

    >>> FedSB().trained(round=1)
    ('core',)
    """

    kind: str = "fed_sb"
    source: ClassVar[str] = "Singhal et al. 2025, arXiv 2502.15436"
    exact: ClassVar[bool] = True

    def trained(self, round: int) -> tuple[Part, ...]:
        """R alone."""
        return ("core",)

    def join(self, target: str, held: Sequence[Held], round: int) -> Joined:
        """B and A as they are, and the mean of R."""
        alike(self.kind, target, held)
        frozen(self.kind, target, held, "a")
        frozen(self.kind, target, held, "b")
        cores = [np.asarray(one.factors.core) for one in held]
        return replace(held[0].factors, core=mean(cores, [one.share for one in held])), None
