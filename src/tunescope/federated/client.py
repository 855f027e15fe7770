"""What a client does in a round: the loop of a central run, taken up where the server's arrays begin."""

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tunescope.data.examples import Examples
from tunescope.data.sample import few
from tunescope.errors import MethodError, Stopped
from tunescope.federated.between import Between
from tunescope.federated.flower_rules import PROXIMAL
from tunescope.federated.holdings import Holding, clients_of
from tunescope.federated.job import Arrays, Config, Metrics
from tunescope.federated.moments import KeptMoments, Moments
from tunescope.federated.of_factors import factors_of, is_trained, others_of, packed
from tunescope.federated.ranks import fitted
from tunescope.federated.shared import ALL, ENCODER, Shared
from tunescope.federated.strategy import Strategy
from tunescope.methods.method import Installed
from tunescope.models.encoder import Encoder
from tunescope.study.federated import Federated
from tunescope.study.run import RunSpec
from tunescope.training.loop import train

SEEN_BY = 8  # validation examples that a client's own loop looks at


@dataclass
class TuningJob:
    """A federated run: one model, which every client of this process tunes in its turn.

    Args:
        spec: the run.
        encoder: on which the method was installed.
        installed: the method at work.
        head: on the encoder's features.
        held: what each client holds, of those that work in this process.
        examples: of the task, by split.
        folder: where clients keep their optimisers' moments; None keeps them in memory.
        stopping: asked after every step of a client.
    """

    spec: RunSpec
    encoder: Encoder
    installed: Installed
    head: nn.Module
    held: Mapping[str, Holding]
    examples: Mapping[str, Examples]
    folder: Path | None = None
    stopping: Callable[[], bool] = lambda: False

    def __post_init__(self):
        assert self.spec.federated is not None
        self.federated: Federated = self.spec.federated
        rule = self.federated.strategy
        self.strategy = rule if isinstance(rule, Strategy) else None
        core = self.strategy is not None and "core" in self.strategy.trained(1)
        self.shared = Shared(self.installed, self.head, self.strategy is not None, core, self.spec.seed)
        if self.strategy is not None and self.strategy.kind != "naive" and not self.shared.layers:
            raise MethodError(
                f"strategy {self.strategy.kind}: it puts LoRA's factors together, and adapt: "
                f"{self.spec.adapt.kind} has none; take adapt: lora, or strategy: naive"
            )
        if (self.federated.ranks or self.federated.rank_from) and (core or not self.shared.layers):
            raise MethodError(
                "federated.ranks, rank_from: ranks are of LoRA's A and B under a strategy of ours; take "
                "adapt: lora with flora, flexlora or hetlora"
            )
        self.begun = self.shared.arrays()
        self.kept = KeptMoments(self.clients, self.folder)

    @property
    def clients(self) -> Sequence[str]:
        """In the order of their names, those that work elsewhere included."""
        return clients_of(self.federated)

    def initial(self) -> Arrays:
        """What the model trains, as the method was installed."""
        return self.begun

    def client(self, name: str) -> "TuningClient":
        """One of them, at work on the shared model."""
        return TuningClient(self, name, self.held[name])

    def seed(self, client: str) -> int:
        """Of a client's order of examples, augmentation and dropout; the run's own where there is but one."""
        if len(self.clients) == 1:
            return self.spec.seed
        words = np.random.SeedSequence([self.spec.seed, zlib.crc32(client.encode())]).generate_state(1)
        return int(words[0])

    def trains(self, round: int, name: str) -> bool:
        """Whether an array is trained in a round, and goes back to the server."""
        return self.strategy is None or is_trained(self.strategy, round, name)

    def put(self, arrays: Arrays, round: int | None = None) -> None:
        """Put what a server has into the model, ready for a round's training, or to be looked at."""
        parts = ALL if round is None or self.strategy is None else self.strategy.trained(round)
        self.shared.shape(arrays, parts)
        self.shared.put(arrays)

    def moments(self, client: str, round: int) -> Moments:
        """Those that a client begins a round with: of its last one, and of factors that are still the same.

        Factors that a strategy drew anew or decomposed, or whose rank has changed since, begin with none.
        """
        last = self.kept.last(client, round) if self.federated.keep_optimizer else None
        if last is None:
            return {}
        resized = any(last < at <= round for at in self.federated.rank_from)
        anew = self.strategy is not None and (self.strategy.renews or resized)
        inside = tuple(f"{ENCODER}{path}." for path in self.shared.layers)
        kept = self.kept.read(client, round)
        return {name: of for name, of in kept.items() if not (anew and name.startswith(inside))}

    def features(self, examples: Examples) -> NDArray:
        """By the model as it is now, in evaluation mode."""
        self.encoder.model.eval()
        size = self.spec.train.batch_size
        with torch.no_grad():
            pieces = range(0, len(examples), size)
            found = [self.encoder.features(examples.inputs[i : i + size]) for i in pieces]
        return torch.cat(found).cpu().numpy()

    def score(self, holding: Holding) -> float:
        """Accuracy on a client's test examples, each with its weight; minus the squared error of numbers."""
        with torch.no_grad():
            features = torch.from_numpy(self.features(holding.test)).to(self.encoder.device)
            outputs = self.head.eval()(features).double().cpu().numpy()
        if holding.test.regression:
            return -float(holding.weights @ (outputs[:, 0] - holding.test.labels) ** 2)
        return float(holding.weights @ (outputs.argmax(1) == holding.test.labels))


@dataclass
class TuningClient:
    """One client of a run.

    Args:
        job: the run.
        name: the client's.
        holding: what it holds.
    """

    job: TuningJob
    name: str
    holding: Holding

    def fit(self, arrays: Arrays, config: Config) -> tuple[Arrays, Metrics, int]:
        """Tune for `local_epochs` epochs from what the server sent.

        The order of examples, the learning rate and dropout are those of the same epochs of a central run:
        one client that holds everything and keeps its moments takes that run's steps, bit for bit.

        Returns:
            what was trained in this round; `loss`, the mean over the steps; in the last round `personal`, the
            accuracy on the client's own test examples before it is joined with others, which are read once;
            how many examples.

        Raises:
            Diverged: loss or gradient were not finite.
            Stopped: the job's `stopping` said so; the round is to be tuned again.
        """
        job, round = self.job, int(config["round"])
        if job.stopping():
            raise Stopped(f"stopped in round {round}")
        an_epoch = math.ceil(len(self.holding.train) / job.spec.train.batch_size)
        steps = job.federated.local_epochs * an_epoch
        job.put(arrays, round)
        if job.spec.penalties:  # they are prepared on the base model, as in a central run
            job.put(_as_begun(job.begun, arrays), round)
        between = Between(
            (round - 1) * steps,
            round * steps,
            lambda: job.shared.put(arrays),
            job.moments(self.name, round),
            job.stopping,
        )
        spec = job.spec.model_copy(update={"seed": job.seed(self.name)})
        spec = spec.model_copy(update={"train": spec.train.model_copy(update={"monitor": None})})
        given = (job.encoder, job.installed, job.head, spec, self.holding.train)
        try:
            with self._proximal(float(config.get(PROXIMAL, 0.0)), arrays):
                train(*given, few(job.examples["val"], SEEN_BY), on_step=between.took, checkpoint=between)
        except Stopped:
            if not between.ended:
                raise
        finally:
            job.encoder.model.eval().zero_grad()
            job.head.eval().zero_grad()
        if job.federated.keep_optimizer:
            job.kept.write(self.name, round, between.moments)
        sent_back = {n: a for n, a in job.shared.arrays().items() if job.trains(round, n)}
        losses = [line["loss"] for line in between.history.log if "loss" in line]
        told = {"loss": float(np.mean(losses))}
        told |= {row.metric: row.value for row in between.history.rows if row.metric == "training.memory"}
        if round == job.federated.rounds:
            told["personal"] = job.score(self.holding)
        return sent_back, told, len(self.holding.train)

    def evaluate(self, arrays: Arrays, config: Config) -> tuple[Metrics, int]:
        """The accuracy of what the server has, on the client's own test examples."""
        self.job.put(arrays)
        return {"global": self.job.score(self.holding)}, len(self.holding.test)

    @contextmanager
    def _proximal(self, mu: float, arrays: Arrays) -> Iterator[None]:
        """Add the gradient of μ/2·‖θ − θ_server‖², μ·(θ − θ_server), while the steps are taken.

        Source: Li et al. 2020 (arXiv 1812.06127), equation 2.
        """
        job = self.job
        handles = []
        if mu:
            held = job.shared.named()
            for name, parameter in held.items():
                if parameter.requires_grad:
                    at = torch.from_numpy(np.array(arrays[name])).to(parameter.device)
                    handles.append(
                        parameter.register_hook(lambda g, p=parameter, at=at: g + mu * (p.detach() - at))
                    )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _as_begun(begun: Arrays, arrays: Arrays) -> Arrays:
    """What the first round began with, in the ranks that the model has now."""
    like, first = factors_of(arrays), factors_of(begun)
    factors = {
        t: of if of.core is not None else fitted(of, like[t].rank, like[t].scale) for t, of in first.items()
    }
    return packed(factors, {}, others_of(begun))
