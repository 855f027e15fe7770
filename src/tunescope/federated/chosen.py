"""From a study's strategy to what the server does."""

from functools import partial

from tunescope.errors import StudyError
from tunescope.federated.combining import Combining
from tunescope.federated.flower_rules import FedAvg, FlowerRule
from tunescope.federated.of_factors import Fit, OfFactors, is_trained
from tunescope.federated.of_flower import OfFlower
from tunescope.federated.privacy import around
from tunescope.federated.privacy import seed as drawn_seed
from tunescope.federated.strategy import Strategy
from tunescope.study.component import Component
from tunescope.study.federated import Privacy

LINEAR = ("naive", "ffa_lora", "rolora", "fed_sb")  # the mean of what clients send, factor by factor


def chosen(
    rule: Component, clients: int, fit: Fit | None = None, seed: int = 0, privacy: Privacy | None = None
) -> Combining:
    """What a server does under a strategy.

    Args:
        rule: Flower's or ours.
        clients: how many are asked in a round.
        fit: rank and scale of each client's factors, by client and target, for our strategies.
        seed: of rows that are drawn.
        privacy: clipping and noise. Noise of N(0, (z·C/n)²) protects a mean and nothing else, so that other
            strategies are refused.

    Raises:
        StudyError: privacy with a strategy that takes no mean, or with ranks that differ.

    >>> chosen(FedAvg(), clients=4).strategy.fraction_train
    1.0
    """
    if privacy is None:
        if isinstance(rule, FlowerRule):
            return OfFlower(rule.make())
        return OfFactors(_ours(rule), fit, seed)
    linear = rule.linear if isinstance(rule, FlowerRule) else rule.kind in LINEAR
    if not linear or fit is not None:
        cause = "clients of ranks of their own" if linear else f"strategy {rule.kind!r}"
        raise StudyError(
            f"privacy: noise of this size protects the mean of what clients send, and {cause} takes no such "
            f"mean; expected one rank and one of: fedavg, fedprox, {', '.join(LINEAR)}"
        )
    if isinstance(rule, FlowerRule):
        return OfFlower(around(privacy, rule.make(), clients), drawn_seed(privacy))
    trained = partial(is_trained, _ours(rule))
    return OfFlower(around(privacy, FedAvg().make(), clients), drawn_seed(privacy), trained)


def _ours(rule: Component) -> Strategy:
    if isinstance(rule, Strategy):
        return rule
    raise StudyError(f"{rule.kind!r} is no strategy; expected one of Flower's or of this program's")
