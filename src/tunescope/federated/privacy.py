"""Central differential privacy: clients clip their steps, the server adds noise to their mean."""

import secrets
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tunescope.study.spec import Spec

if TYPE_CHECKING:
    from flwr.serverapp.strategy import Strategy as FlowerStrategy


class Privacy(Spec):
    """Each client's step is clipped to C, and N(0, (z·C/n)²) is added to the mean of n: Flower's mechanism.

    The server is trusted: it sees each client's clipped step. Clients weigh the same, whatever their
    examples, or one of them could move the mean by more than C/n. What clients measure is not protected.

    Source: McMahan et al. 2018 (arXiv 1710.06963), algorithm 1; adaptive: Andrew et al. 2021 (arXiv
    1905.03871), equation 3.

    Args:
        noise: z, the noise multiplier.
        clip: C, the norm that a client's step is scaled down to; where it is adaptive, the first one.
        adaptive: C moves to where `quantile` of the clients' steps are below it, by the factor
            e^(−0.2·(b − quantile)), b the share that was not clipped (with noise of its own).
        quantile: the share of the clients whose steps are to stay whole.
        noise_seed: what noise is drawn from. Left out, it is drawn once by the operating system and kept with
            the server's checkpoints. Given, results can be repeated, and there is no privacy from whoever
            reads the study.

    >>> Privacy(noise=1.0, clip=0.5).kind
    'fixed'
    """

    noise: Annotated[float, Field(ge=0)]
    clip: Annotated[float, Field(gt=0)] = 0.1
    adaptive: bool = False
    quantile: Annotated[float, Field(ge=0, le=1)] = 0.5
    noise_seed: Annotated[int, Field(ge=0)] | None = None

    @property
    def kind(self) -> Literal["fixed", "adaptive"]:
        """How the norm is chosen."""
        return "adaptive" if self.adaptive else "fixed"

    def around(self, strategy: "FlowerStrategy", clients: int) -> "FlowerStrategy":
        """Flower's wrapper around a strategy that takes the mean.

        Args:
            strategy: FedAvg, or what averages as it does.
            clients: how many are asked in a round.
        """
        from tunescope.federated.flower import strategies

        if self.adaptive:
            return strategies.DifferentialPrivacyClientSideAdaptiveClipping(
                strategy, self.noise, clients, self.clip, self.quantile
            )
        return strategies.DifferentialPrivacyClientSideFixedClipping(strategy, self.noise, self.clip, clients)

    def seed(self) -> int:
        """What noise is drawn from."""
        return secrets.randbits(128) if self.noise_seed is None else self.noise_seed
