"""Flower's strategies as settings of a study; Flower itself is imported when one is made."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tunescope.study.component import Component

if TYPE_CHECKING:
    from flwr.serverapp.strategy import Strategy as FlowerStrategy

PROXIMAL = "proximal-mu"  # Flower's name for μ in what clients are told


class FlowerRule(Component):
    """A way of putting clients' arrays together that Flower has."""

    linear: ClassVar[bool] = False  # the result is the mean of what clients send, so that noise protects it

    @abstractmethod
    def make(self) -> "FlowerStrategy":
        """Flower's strategy with these settings, for whoever is asked."""


def _everybody() -> dict[str, float | int]:
    """Whoever is asked takes part: who that is was decided before."""
    return {
        "fraction_train": 1.0,
        "min_train_nodes": 1,
        "min_evaluate_nodes": 1,
        "min_available_nodes": 1,
    }


class FedAvg(FlowerRule):
    """The mean by examples: θ ← Σ_k p_k·θ_k, p_k = n_k / Σ n.

    Source: McMahan et al. 2017 (arXiv 1602.05629), algorithm 1.

    >>> type(FedAvg().make()).__name__
    'FedAvg'
    """

    kind: str = "fedavg"
    source: ClassVar[str] = "McMahan et al. 2017, arXiv 1602.05629, algorithm 1"
    linear: ClassVar[bool] = True

    def make(self) -> "FlowerStrategy":
        from tunescope.federated.flower import strategies

        return strategies.FedAvg(**_everybody())  # pyright: ignore[reportArgumentType]


class FedProx(FlowerRule):
    """FedAvg whose clients stay near the server: each minimises F_k(θ) + μ/2·‖θ − θ_server‖².

    The server tells clients μ as `proximal-mu`; the square is the paper's, and the client's to add.

    Source: Li et al. 2020 (arXiv 1812.06127), algorithm 2.

    >>> FedProx(mu=0.1).make().proximal_mu
    0.1
    """

    kind: str = "fedprox"
    source: ClassVar[str] = "Li et al. 2020, arXiv 1812.06127, algorithm 2"
    linear: ClassVar[bool] = True
    mu: Annotated[float, Field(ge=0)] = 0.01

    def make(self) -> "FlowerStrategy":
        from tunescope.federated.flower import strategies

        return strategies.FedProx(**_everybody(), proximal_mu=self.mu)  # pyright: ignore[reportArgumentType]


class FedAdam(FlowerRule):
    """Adam on the server, the clients' mean step Δ for its gradient: θ ← θ + η_t·m / (√v + τ).

    m ← β₁·m + (1 − β₁)·Δ, v ← β₂·v + (1 − β₂)·Δ², η_t = η·√(1 − β₂^(t+1)) / (1 − β₁^(t+1)), as Flower has it.

    Source: Reddi et al. 2021 (arXiv 2003.00295), algorithm 2; η_t: Kingma & Ba 2015 (arXiv 1412.6980).

    >>> FedAdam(eta=0.1).make().beta_2
    0.99
    """

    kind: str = "fedadam"
    source: ClassVar[str] = "Reddi et al. 2021, arXiv 2003.00295, algorithm 2"
    eta: Annotated[float, Field(gt=0)] = 0.01
    beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    tau: Annotated[float, Field(gt=0)] = 1e-3

    def make(self) -> "FlowerStrategy":
        from tunescope.federated.flower import strategies

        return strategies.FedAdam(**_everybody(), **self._settings())  # pyright: ignore[reportArgumentType]

    def _settings(self) -> dict[str, float]:
        return {"eta": self.eta, "beta_1": self.beta_1, "beta_2": self.beta_2, "tau": self.tau}


class FedYogi(FedAdam):
    """FedAdam whose second moment moves by a bounded step: v ← v − (1 − β₂)·Δ²·sign(v − Δ²).

    Source: Reddi et al. 2021 (arXiv 2003.00295), algorithm 2.

    >>> FedYogi().kind
    'fedyogi'
    """

    kind: str = "fedyogi"

    def make(self) -> "FlowerStrategy":
        from tunescope.federated.flower import strategies

        return strategies.FedYogi(**_everybody(), **self._settings())  # pyright: ignore[reportArgumentType]


class FedMedian(FlowerRule):
    """The median of each number over clients, whatever their examples.

    Source: Yin et al. 2018 (arXiv 1803.01498), algorithm 1, option I.

    >>> FedMedian().kind
    'fedmedian'
    """

    kind: str = "fedmedian"
    source: ClassVar[str] = "Yin et al. 2018, arXiv 1803.01498, algorithm 1"

    def make(self) -> "FlowerStrategy":
        from tunescope.federated.flower import strategies

        return strategies.FedMedian(**_everybody())  # pyright: ignore[reportArgumentType]


class FedTrimmedAvg(FlowerRule):
    """The mean of each number over clients without the ⌊β·K⌋ largest and smallest, whatever their examples.

    Source: Yin et al. 2018 (arXiv 1803.01498), algorithm 1, option II.

    Args:
        beta: β, below one half.

    >>> FedTrimmedAvg(beta=0.25).make().beta
    0.25
    """

    kind: str = "fedtrimmedavg"
    source: ClassVar[str] = "Yin et al. 2018, arXiv 1803.01498, algorithm 1"
    beta: Annotated[float, Field(ge=0, lt=0.5)] = 0.2

    def make(self) -> "FlowerStrategy":
        from tunescope.federated.flower import strategies

        return strategies.FedTrimmedAvg(**_everybody(), beta=self.beta)  # pyright: ignore[reportArgumentType]


class Krum(FlowerRule):
    """The one answer that is nearest to its K − f − 2 nearest neighbours.

    Source: Blanchard et al. 2017 (arXiv 1703.02757).

    Args:
        malicious: f, how many clients may lie.

    >>> Krum(malicious=1).make().num_malicious_nodes
    1
    """

    kind: str = "krum"
    source: ClassVar[str] = "Blanchard et al. 2017, arXiv 1703.02757"
    malicious: Annotated[int, Field(ge=0)] = 0

    def make(self) -> "FlowerStrategy":
        from tunescope.federated.flower import strategies

        return strategies.Krum(**_everybody(), num_malicious_nodes=self.malicious)  # pyright: ignore[reportArgumentType]
