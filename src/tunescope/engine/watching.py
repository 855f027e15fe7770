"""What the server sees of each client after its round, in arrays that it has anyway."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tunescope.data.sample import few
from tunescope.engine.monitor import LiveMonitor
from tunescope.errors import Diverged
from tunescope.federated.client import TuningJob
from tunescope.federated.job import Arrays
from tunescope.probes.probe import probes_of
from tunescope.probes.similarity import cka
from tunescope.results.row import Row

if TYPE_CHECKING:
    from tunescope.federated.rounds import Turn

SHOWN = 32  # probe examples by which representations are compared: 64 cost a fifth of a small client's round


@dataclass
class Watching:
    """Puts the clients' models into the server's own encoder, one after the other, and looks at them.

    It asks clients for nothing: there is no extra traffic, no client's word is taken, and it is the same in
    every runtime. Under privacy it looks at nobody: a number about one client's step has no noise in it.

    Args:
        job: the run. Its model holds another client's arrays afterwards.
        monitor: whose probes look at every client; None where the run does not have its clients watched.
    """

    job: TuningJob
    monitor: LiveMonitor | None = None

    def __post_init__(self):
        self._shown = few(self.job.examples["probe"], SHOWN)
        said = self.job.spec.train.monitor
        probes = [] if said is None else probes_of(said)
        self._plain = {metric.name for probe in probes for metric in probe.metrics}

    def look(self, number: int, turns: Mapping[str, "Turn"]) -> list[Row]:
        """What the clients of a round are like, the round as each row's step.

        A client whose features are not finite has no rows; one whose features are alike for all examples is
        in no comparison.

        Args:
            number: the round's.
            turns: of the clients whose answers were used.
        """
        if self.job.federated.privacy is not None:
            return []
        rows: list[Row] = []
        features: dict[str, NDArray] = {}
        before: NDArray | None = None
        for client, turn in turns.items():
            if before is None or self.job.federated.ranks:  # all are sent the same, but for ranks
                before = self._features(turn.sent)
            features[client] = self._features(turn.left)
            if len(before) >= 4 and np.isfinite(alike := cka(features[client], before)):
                rows.append(Row("federated.cka", alike, component=client, step=number))
            if self.monitor is not None and np.isfinite(features[client]).all():
                rows += self._probed(self.monitor, number, client)
        return [*rows, *(row._replace(step=number) for row in drift(features))]

    def _features(self, arrays: Arrays) -> NDArray:
        self.job.put(arrays)
        return self.job.features(self._shown)

    def _probed(self, monitor: LiveMonitor, number: int, client: str) -> Iterator[Row]:
        """The rows of the client that is in the model, by names that the global model's do not have."""
        try:
            rows = monitor.look(number, self.job.head).rows
        except Diverged:  # on other examples; of the global model it ends the run, and this is one of many
            return
        for row in rows:
            if row.metric in self._plain:
                part = client if row.component is None else f"{row.component}@{client}"
                yield row._replace(metric=f"{row.metric}.client", component=part)


def drift(features: Mapping[str, NDArray]) -> list[Row]:
    """How far clients' models have drifted apart: 1 − CKA, as a mean over all pairs of clients.

    Args:
        features: of the same n examples by each client's model, "n d".

    Returns:
        `federated.cka_between`, each client's mean CKA with the others, and `federated.drift`; nothing for
        fewer than two clients or four examples.

    Source: Luo et al. 2021 (arXiv 2106.05001), section 3, with the debiased CKA of Nguyen et al. 2021.

    >>> x = np.array([[0.0, 0], [1, 0], [0, 2], [3, 1], [1, 4]])
    >>> [(row.metric.partition(".")[2], row.component, row.value) for row in drift({"ada": x, "bob": 2 * x})]
    [('cka_between', 'ada', 1.0), ('cka_between', 'bob', 1.0), ('drift', None, 0.0)]
    """
    pairs = [pair for pair in combinations(features, 2) if len(features[pair[0]]) >= 4]
    alike = {pair: cka(features[pair[0]], features[pair[1]]) for pair in pairs}
    alike = {pair: value for pair, value in alike.items() if np.isfinite(value)}
    if not alike:
        return []
    others = {client: [value for pair, value in alike.items() if client in pair] for client in features}
    between = [
        Row("federated.cka_between", float(np.mean(values)), component=client)
        for client, values in others.items()
        if values
    ]
    return [*between, Row("federated.drift", float(np.mean([1 - value for value in alike.values()])))]
