"""Flower's own strategies behind the common face, with what they remember."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tunescope.errors import MethodError
from tunescope.federated.clipping import CLIPPING, FILL
from tunescope.federated.combining import Answer, Combining, Memory, alike_or_kept
from tunescope.federated.flower import ConfigRecord, strategies
from tunescope.federated.job import Arrays, Config
from tunescope.federated.records import answer, array_record, arrays_of, metric_record

MOMENTS = ("m_t", "v_t")  # of the adaptive strategies: what they remember of earlier rounds
NORM_BIT = "norm_bit"  # Flower's name: was this client's step clipped?
ROUNDED = 1.001  # a clipped step's norm over C, at the most: clients clip in single precision
PRIVATE = (
    strategies.DifferentialPrivacyClientSideFixedClipping,
    strategies.DifferentialPrivacyClientSideAdaptiveClipping,
)
Trained = Callable[[int, str], bool]


def floating(arrays: Arrays) -> dict[str, NDArray]:
    """Those that have a mean.

    >>> list(floating({"steps": np.array(3), "w": np.zeros(2, np.float32)}))
    ['w']
    """
    return {name: array for name, array in arrays.items() if array.dtype.kind == "f"}


class OfFlower(Combining):
    """A strategy of Flower's, given the answers in the order of the clients' names.

    Flower's own types and sums are kept, but for two things: the result has the types of what the round began
    with (FedAdam and FedYogi come back as float64), and what is not floating point is not averaged.

    Where the strategy adds noise, it is drawn from `noise_seed` and the round, so that a resumed server draws
    the same; answers then weigh the same whatever their examples, and the noise is of as many clients as
    answered: both bound what one client can do by C / n.

    Args:
        strategy: as Flower makes it, with `fraction_train` 1 and `min_train_nodes` 1: who takes part is not
            its business here. It belongs to this object.
        noise_seed: what noise is drawn from. Whoever knows it can take the noise off again.
        trained: which arrays a round changes, by its number and their names; all, if left out.
    """

    def __init__(self, strategy: strategies.Strategy, noise_seed: int = 0, trained: Trained | None = None):
        self.strategy = strategy
        self.noise_seed = noise_seed
        self.trained: Trained = trained or (lambda round, name: True)
        self.private = isinstance(strategy, PRIVATE)

    def check(self, arrays: Arrays) -> None:
        """Clipping needs floating-point arrays of at least one dimension: Flower's passes by all others."""
        for name, array in sorted(arrays.items()) if self.private else ():
            if array.dtype.kind != "f" or array.ndim == 0:
                raise MethodError(
                    f"differential privacy: {name!r} is {array.dtype} {list(array.shape)}, which cannot be "
                    "clipped; expected floating point of at least one dimension: keep it out of what travels"
                )

    def tells(self, round: int, arrays: Arrays) -> Config:
        """FedProx's weight, the clipping norm: what the strategy itself would put into its messages."""
        config, before = ConfigRecord(), random.getstate()
        record = array_record(floating(self.expects(round, arrays)))
        one_node = cast(Any, SimpleNamespace(get_node_ids=lambda: [1]))
        try:
            list(self.strategy.configure_train(round, record, config, one_node))
        finally:
            random.setstate(before)  # it draws whom to ask
        told = {name: value for name, value in config.items() if name != "server-round"}
        if self.private:
            fixed = isinstance(self.strategy, strategies.DifferentialPrivacyClientSideFixedClipping)
            told |= {CLIPPING: "fixed" if fixed else "adaptive", FILL: True}
        return cast(Config, told)

    def expects(self, round: int, sent: Arrays) -> Arrays:
        """What is trained in this round; everything where it is clipped."""
        return sent if self.private else {n: array for n, array in sent.items() if self.trained(round, n)}

    def most(self) -> float | None:
        """The norm that clients clip to, and a little for rounding.

        By the usual norm of the others, what one client sent would decide whether another is counted, and
        move the sum by more than C.
        """
        return ROUNDED * float(cast(Any, self.strategy).clipping_norm) if self.private else None

    def combine(
        self, round: int, arrays: Arrays, answers: Sequence[Answer]
    ) -> tuple[dict[str, NDArray], dict[str, float]]:
        """What the strategy makes of the floating-point arrays, with what all agree on beside it."""
        expected = self.expects(round, arrays)
        averaged = floating(expected).keys()
        told = [self._message(one, averaged) for one in answers]
        if self.private:
            cast(Any, self.strategy).num_sampled_clients = len(answers)
        before = np.random.get_state()
        np.random.seed(np.random.SeedSequence([self.noise_seed, round]).generate_state(8))
        try:
            record, _ = self.strategy.aggregate_train(round, told)
        finally:
            np.random.set_state(before)
        if record is None:
            raise MethodError(f"{type(self.strategy).__name__} made nothing of {len(answers)} answers")
        made = {n: array.astype(arrays[n].dtype) for n, array in arrays_of(record).items()}
        made |= {n: alike_or_kept(n, arrays[n], answers) for n in expected.keys() - averaged}
        return {n: made[n] if n in made and self.trained(round, n) else arrays[n] for n in arrays}, {}

    def _message(self, one: Answer, names: Iterable[str]) -> Any:
        # Flower's client says 1 for a step that was clipped, and its server moves the norm as if 1 were one
        # that was not (Andrew et al. 2021): the norm would run away from its quantile.
        metrics = {NORM_BIT: 1 - one.metrics[NORM_BIT]} if NORM_BIT in one.metrics else {}
        examples = 1 if self.private else one.examples
        return answer({name: one.arrays[name] for name in names}, metric_record(metrics, examples))

    def memory(self) -> Memory:
        """Moments and the adapted clipping norm, with the seed of the noise."""
        arrays = {
            f"{moment}/{name}": array
            for layer in self._layers()
            for moment in MOMENTS
            for name, array in (getattr(layer, moment, None) or {}).items()
        }
        values: dict[str, Any] = {"noise_seed": self.noise_seed}
        if self.private:
            values["clipping_norm"] = float(cast(Any, self.strategy).clipping_norm)
        return Memory(arrays, values)

    def recall(self, memory: Memory) -> None:
        """Moments and clipping norm as they were."""
        self.noise_seed = int(memory.values["noise_seed"])
        if self.private:
            cast(Any, self.strategy).clipping_norm = float(memory.values["clipping_norm"])
        for layer in self._layers():
            for moment in MOMENTS:
                if hasattr(layer, moment):
                    kept = {n: a for n, a in memory.arrays.items() if n.startswith(f"{moment}/")}
                    setattr(layer, moment, {n.removeprefix(f"{moment}/"): a for n, a in kept.items()} or None)

    def _layers(self) -> Iterator[Any]:
        layer: Any = self.strategy
        while layer is not None:
            yield layer
            layer = getattr(layer, "strategy", None)
