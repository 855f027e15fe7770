"""Central differential privacy, as Flower has it: clients clip their steps, the server adds noise."""

import secrets
from typing import TYPE_CHECKING

from tunescope.errors import StudyError
from tunescope.study.federated import Privacy

if TYPE_CHECKING:
    from flwr.serverapp.strategy import Strategy as FlowerStrategy


def around(privacy: Privacy, strategy: "FlowerStrategy", clients: int) -> "FlowerStrategy":
    """Flower's wrapper around a strategy that takes the mean.

    Args:
        privacy: clipping and noise; `study.federated.Privacy` says what they come to.
        strategy: FedAvg, or what averages as it does.
        clients: how many are asked in a round.

    Raises:
        StudyError: an adaptive norm with so much noise that what the norm itself costs cannot be made up for.

    >>> from tunescope.federated.flower_rules import FedAvg
    >>> around(Privacy(noise=1.0, clip=0.5), FedAvg().make(), 4).clipping_norm
    0.5
    """
    from tunescope.federated.flower import strategies

    if privacy.adaptive and privacy.noise >= clients / 10:
        raise StudyError(
            f"privacy: noise={privacy.noise:g} with an adaptive norm and {clients} clients a round; expected "
            f"less than a tenth of them, {clients / 10:g}: take a fixed norm, or more clients a round"
        )
    if privacy.adaptive:
        return strategies.DifferentialPrivacyClientSideAdaptiveClipping(
            strategy, privacy.noise, clients, privacy.clip, privacy.quantile
        )
    return strategies.DifferentialPrivacyClientSideFixedClipping(
        strategy, privacy.noise, privacy.clip, clients
    )


def seed(privacy: Privacy) -> int:
    """What noise is drawn from: the study's seed, or one that the operating system draws.

    >>> seed(Privacy(noise=1.0, noise_seed=3))
    3
    """
    return secrets.randbits(128) if privacy.noise_seed is None else privacy.noise_seed
