"""What a client sends after its round, and what the server makes of all of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from numpy.typing import NDArray

from tunescope.errors import MethodError
from tunescope.federated.factors import Factors


@dataclass(frozen=True, eq=False)
class ClientUpdate:
    """What one client has trained in a round.

    Args:
        client: its name, by which sums are ordered.
        examples: how many it learnt from; its weight in a mean.
        factors: by target.
        others: what else it trained, by name: a head, norms.

    Raises:
        MethodError: it learnt from no examples.
    """

    client: str
    examples: int
    factors: Mapping[str, Factors] = field(default_factory=dict)
    others: Mapping[str, NDArray] = field(default_factory=dict)

    def __post_init__(self):
        if self.examples < 1:
            raise MethodError(f"client {self.client!r}: {self.examples} examples; expected at least 1")


@dataclass(frozen=True, eq=False)
class Aggregated:
    """What the server has for the next round.

    Args:
        factors: by target; `ranks.fitted` cuts them to a client's rank and scale. A target that is missing
            begins anew, its product zero.
        additions: by target, what every client adds to its base weight W₀ before the next round. As factors,
            because that is what travels; `product()` is the matrix.
        others: means of what else was trained.
        diagnostics: `aggregation_error`, of all targets and (`aggregation_error/q`) of each, and what the
            strategy adds.
    """

    factors: Mapping[str, Factors]
    additions: Mapping[str, Factors]
    others: Mapping[str, NDArray]
    diagnostics: Mapping[str, float]
