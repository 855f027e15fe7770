"""What a client does in a round: the loop of a central run, taken up where the server's arrays begin."""

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from tunescope.data.examples import Examples
from tunescope.data.sample import few
from tunescope.errors import Diverged, MethodError, Stopped
from tunescope.federated.between import Between, Moments, as_tensors, of_tensors
from tunescope.federated.flower_rules import PROXIMAL
from tunescope.federated.holdings import Holding
from tunescope.federated.job import Arrays, Config, Metrics
from tunescope.federated.of_factors import FACTORS, factors_of, is_trained, others_of, packed
from tunescope.federated.ranks import fitted
from tunescope.federated.shared import ALL, Shared
from tunescope.federated.strategy import Strategy
from tunescope.methods.method import Installed
from tunescope.models.encoder import Encoder
from tunescope.study.federated import Federated
from tunescope.study.run import RunSpec
from tunescope.training.loop import train

SHOWN = 64  # examples by which representations are compared
SEEN_BY = 8  # validation examples that a client's own loop looks at


@dataclass
class TuningJob:
    """A federated run: one model, which every client of this process tunes in its turn.

    Args:
        spec: the run.
        encoder: on which the method was installed.
        installed: the method at work.
        head: on the encoder's features.
        held: what each client holds.
        examples: of the task, by split.
        folder: where clients keep their optimisers' moments; None keeps them in memory.
        stopping: asked after every step of a client.

    Attributes:
        diverged: clients whose loss stopped being finite, with the step.
    """

    spec: RunSpec
    encoder: Encoder
    installed: Installed
    head: nn.Module
    held: Mapping[str, Holding]
    examples: Mapping[str, Examples]
    folder: Path | None = None
    stopping: Callable[[], bool] = lambda: False
    diverged: dict[str, int] = field(default_factory=dict)

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
        self._moments: dict[tuple[str, int], Moments] = {}
        self._seen: tuple[int, NDArray] | None = None

    @property
    def clients(self) -> Sequence[str]:
        """In the order of their names."""
        return sorted(self.held)

    def initial(self) -> Arrays:
        """What the model trains, as the method was installed."""
        return self.begun

    def client(self, name: str) -> "TuningClient":
        """One of them, at work on the shared model."""
        return TuningClient(self, name, self.held[name])

    def seed(self, client: str) -> int:
        """Of a client's order of examples, augmentation and dropout; the run's own where there is but one."""
        if len(self.held) == 1:
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

    def kept(self, client: str, before: int) -> Moments:
        """A client's moments at the end of its last round before this one."""
        if self.folder is None:
            rounds = [number for name, number in self._moments if name == client and number < before]
            return self._moments[client, max(rounds)] if rounds else {}
        found = {int(p.stem): p for p in self._place(client).glob("*.safetensors") if int(p.stem) < before}
        return of_tensors(load_file(found[max(found)])) if found else {}

    def keep(self, client: str, round: int, moments: Moments) -> None:
        """Keep them, and those of the round before, which is tuned again where a server was killed."""
        if self.folder is None:
            old = sorted(number for name, number in self._moments if name == client and number < round)
            for number in old[:-1]:
                del self._moments[client, number]
            self._moments[client, round] = moments
            return
        place = self._place(client)
        place.mkdir(parents=True, exist_ok=True)
        aside = place / "new"
        save_file(as_tensors(moments), aside)
        aside.replace(place / f"{round}.safetensors")
        old = sorted(int(path.stem) for path in place.glob("*.safetensors") if int(path.stem) < round)
        for number in old[:-1]:
            (place / f"{number}.safetensors").unlink()

    def _place(self, client: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{zlib.crc32(client.encode()):08x}-{self.clients.index(client)}"

    def sent_features(self, round: int) -> NDArray:
        """Of a few probe examples, by the model as it was sent: the same for all where ranks are."""
        if self._seen is None or self._seen[0] != round or self.federated.ranks:
            self._seen = (round, self.features(few(self.examples["probe"], SHOWN)))
        return self._seen[1]

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
            what was trained in this round; `loss`, the mean over the steps; `cka` of the features of a few
            probe examples with those that the model gave as it was sent; in the last round `personal`, the
            accuracy on the client's own test examples before it is joined with others; how many examples.

        Raises:
            Diverged: loss or gradient were not finite.
            Stopped: the job's `stopping` said so; the round is to be tuned again.
        """
        from tunescope.probes.similarity import cka

        job, round = self.job, int(config["round"])
        if job.stopping():
            raise Stopped(f"stopped in round {round}")
        an_epoch = math.ceil(len(self.holding.train) / job.spec.train.batch_size)
        steps = job.federated.local_epochs * an_epoch
        job.put(arrays, round)
        before = job.sent_features(round)
        if job.spec.penalties:  # they are prepared on the base model, as in a central run
            job.put(_as_begun(job.begun, arrays), round)
        moments = job.kept(self.name, round) if job.federated.keep_optimizer else {}
        between = Between(
            (round - 1) * steps,
            round * steps,
            lambda: job.shared.put(arrays),
            {name: of for name, of in moments.items() if not _begins_anew(name, arrays)},
            job.stopping,
        )
        spec = job.spec.model_copy(update={"seed": job.seed(self.name)})
        spec = spec.model_copy(update={"train": spec.train.model_copy(update={"monitor": None})})
        given = (job.encoder, job.installed, job.head, spec, self.holding.train)
        try:
            with self._proximal(float(config.get(PROXIMAL, 0.0)), arrays):
                train(*given, few(job.examples["val"], SEEN_BY), on_step=between.took, checkpoint=between)
        except Diverged as error:
            job.diverged[self.name] = error.step
            raise
        except Stopped:
            if not between.ended:
                raise
        finally:
            job.encoder.model.eval().zero_grad()
            job.head.eval().zero_grad()
        job.diverged.pop(self.name, None)
        if job.federated.keep_optimizer:
            job.keep(self.name, round, between.moments)
        sent_back = {n: a for n, a in job.shared.arrays().items() if job.trains(round, n)}
        losses = [line["loss"] for line in between.history.log if "loss" in line]
        told = {"loss": float(np.mean(losses))}
        told |= {row.metric: row.value for row in between.history.rows if row.metric == "training.memory"}
        after = job.features(few(job.examples["probe"], SHOWN))
        if len(after) >= 4:
            told["cka"] = cka(after, before)
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


def _begins_anew(name: str, arrays: Arrays) -> bool:
    """Whether a parameter is of factors that were drawn anew, so that old moments are of something else."""
    path = name.removeprefix("encoder.").partition(".lora_")[0]
    b = arrays.get(f"{FACTORS}{path}/b")
    return b is not None and f"{FACTORS}{path}/core" not in arrays and not b.any()
