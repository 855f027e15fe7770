"""Fed-SB: only a small core between two frozen factors is trained."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from tunescope.errors import MethodError
from tunescope.federated.factors import Factors, Matrix
from tunescope.federated.mean import mean
from tunescope.federated.strategy import Held, Joined, Part, Strategy, alike, frozen


class FedSB(Strategy):
    """Trains and averages R in W = W₀ + s·B·R·A, with B and A frozen, the same for all: exact.

    Σ p_k·B·R_k·A = B·(Σ p_k·R_k)·A. A round costs r² numbers a target, however large the matrix.

    Source: Singhal et al. 2025 (arXiv 2502.15436), section 3.

    >>> FedSB().trained(round=1)
    ('core',)
    """

    kind: str = "fed_sb"
    source: ClassVar[str] = "Singhal et al. 2025, arXiv 2502.15436, section 3"
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


def begun(change: Matrix, rank: int, scale: float) -> Factors:
    """The factors that Fed-SB begins with: B = U, R = diag(σ) / s, A = Vᵀ of the best product of this rank.

    Their product s·B·R·A is the truncated singular value decomposition of `change`.

    Source: Ponkshe et al. 2024 (LoRA-SB, arXiv 2411.19557), section 3.

    Args:
        change: [out, in]: what the first step of full fine-tuning would add, averaged over the clients.
        rank: r, at most min(out, in).
        scale: s.

    Raises:
        MethodError: another rank, or a scale that is not positive.

    >>> begun(np.diag([4.0, 1.0]), rank=1, scale=2.0).product().round(12).tolist()
    [[4.0, 0.0], [0.0, 0.0]]
    """
    if not 1 <= rank <= min(change.shape) or scale <= 0:
        raise MethodError(
            f"fed_sb: rank {rank} and scale {scale:g} for a change of {list(change.shape)}; expected a rank "
            f"of 1 to {min(change.shape)} and a scale above 0"
        )
    u, sigma, vt = np.linalg.svd(change.astype(np.float64), full_matrices=False)
    a, b, core = (
        part.astype(change.dtype) for part in (vt[:rank], u[:, :rank], np.diag(sigma[:rank] / scale))
    )
    return Factors(a, b, scale, core)
