"""What makes a run a federated one: who holds the data, how often they meet, how results are joined."""

from typing import Annotated

from pydantic import Field, model_validator

from tunescope.study.component import PartitionKind, StrategyKind, resolve
from tunescope.study.spec import Spec

AtLeastOne = Annotated[int, Field(ge=1)]


class Privacy(Spec):
    """Each client's step is clipped to C, and N(0, (z·C/n)²) is added to the mean of n: Flower's mechanism.

    The server is trusted: it sees each client's clipped step. Clients weigh the same, whatever their
    examples, so that one of them, its step counted or taken for zero, moves the sum of n steps by C at the
    most; which of them take part is drawn without replacement, a fixed number a round. What clients measure
    is not protected.

    `federated.epsilon` says what it comes to, of z and the rounds, at δ = 1e-5 and for a client against none
    in its place. Where another client takes its place, the sum moves by 2·C: read ε of half of z. `sample`
    is not counted as amplification. Where the norm is adaptive the mean gets as much more noise as the noisy
    count of clipped steps is to cost, and no ε is told.

    Source: McMahan et al. 2018 (arXiv 1710.06963), algorithm 1; adaptive: Andrew et al. 2021 (arXiv
    1905.03871).

    Args:
        noise: z, the noise multiplier.
        clip: C, the norm that a client's step is scaled down to; where it is adaptive, the first one.
        adaptive: C moves to where `quantile` of the clients' steps are below it, by the factor
            e^(−0.2·(b − quantile)), b the share that was not clipped (with noise of its own).
        quantile: the share of the clients whose steps are to stay whole.
        noise_seed: what noise is drawn from. Left out, it is drawn once by the operating system and kept with
            the server's checkpoints. Given, results can be repeated, and there is no privacy from whoever
            reads the study.

    >>> Privacy(noise=1.0, clip=0.5).adaptive
    False
    """

    noise: Annotated[float, Field(ge=0)]
    clip: Annotated[float, Field(gt=0)] = 0.1
    adaptive: bool = False
    quantile: Annotated[float, Field(ge=0, le=1)] = 0.5
    noise_seed: Annotated[int, Field(ge=0)] | None = None


class Federated(Spec):
    """A run whose data lies with clients: every round some of them tune, and the server joins the results.

    A run of this kind is `rounds` · `local_epochs` epochs long, over which the learning rate's schedule
    stretches; `train.epochs` is not read.

    Args:
        rounds: how often clients tune and the server joins.
        local_epochs: how often a client sees each of its examples in a round.
        data: where the clients' examples are from; none is the task's data. Of each of them those are trained
            on whose class and whose concept are on the task's training side.
        partition: which client holds which examples.
        strategy: how the server joins what clients have tuned.
        sample: share of the clients that take part in a round, drawn anew for each; at least one does.
        ranks: the rank of LoRA at single clients, by name, in the place of the method's.
        rank_from: the rank of LoRA from a round on, by that round, in the place of the method's: grown and
            shrunk so that the product stays as near as it can.
        keep_optimizer: whether a client's moments live on until its next round; else it begins with none.
        privacy: clipping and noise; None for none.
        outlier: k of the largest step that is still used, median + k·MAD over the round's clients, three or
            more of them; a tenth of the median stands for a MAD that is less, so that with k = 100 nobody is
            left out below eleven times the median. Clients with more data take longer steps: where some have
            ten times the usual number, give more. Under privacy it is not read: a step above C is left out,
            so that who is counted does not hang on the others.
        watch_clients: whether the probes of `train.monitor` look at each client's model too after its own
            tuning, beside the global model; the server does, and clients are asked for nothing. How far
            clients drift apart is measured without it; under privacy neither is.

    >>> Federated(rounds=3, local_epochs=2).epochs
    6
    """

    rounds: AtLeastOne = 10
    local_epochs: AtLeastOne = 1
    data: tuple[str, ...] = ()
    partition: PartitionKind = Field(default_factory=lambda: resolve("partition", "iid"))
    strategy: StrategyKind = Field(default_factory=lambda: resolve("strategy", "naive"))
    sample: Annotated[float, Field(gt=0, le=1)] = 1.0
    ranks: dict[str, AtLeastOne] = Field(default_factory=dict)
    rank_from: dict[Annotated[int, Field(ge=2)], AtLeastOne] = Field(default_factory=dict)
    keep_optimizer: bool = False
    privacy: Privacy | None = None
    outlier: Annotated[float, Field(gt=0)] = 100.0
    watch_clients: bool = False

    @property
    def epochs(self) -> int:
        """How often a client that takes part in all rounds sees each of its examples."""
        return self.rounds * self.local_epochs

    @model_validator(mode="after")
    def _belong_together(self):
        if self.partition.kind == "by_domain" and len(self.data) < 2:
            raise ValueError(
                "partition by_domain: each client holds the data of one place; name two or more under "
                "'data', such as data: [emoji/noto, emoji/twemoji], or take iid, dirichlet or pathological"
            )
        if late := [number for number in self.rank_from if number > self.rounds]:
            raise ValueError(
                f"rank_from: there is no round {late[0]}, but {self.rounds} in all; name some of these"
            )
        if self.ranks and self.rank_from:
            raise ValueError("ranks of single clients and rank_from do not go together; give one of them")
        if self.watch_clients and self.privacy is not None:
            raise ValueError(
                "watch_clients, privacy: what is seen of one client has no noise in it; give one of them"
            )
        return self
