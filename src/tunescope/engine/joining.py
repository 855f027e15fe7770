"""Who takes part in a federated run, and what the server does with what they have tuned."""

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from tunescope.data.examples import Examples
from tunescope.errors import StudyError
from tunescope.federated.client import TuningJob
from tunescope.federated.holdings import Holding, holdings
from tunescope.federated.strategy import Strategy
from tunescope.methods.method import Installed
from tunescope.models.encoder import Encoder
from tunescope.study.federated import Federated
from tunescope.study.run import RunSpec

if TYPE_CHECKING:
    from tunescope.federated.combining import Combining


def lay_out(
    spec: RunSpec,
    encoder: Encoder,
    examples: dict[str, Examples],
    decoded: Path | None,
    only: Collection[str] | None = None,
    places: Mapping[str, str] | None = None,
) -> dict[str, Holding]:
    """What each client of a federated run holds. As `federated.holdings.holdings`."""
    return holdings(spec, examples, encoder.preprocess, decoded, only, places)


def combining_of(spec: RunSpec, job: TuningJob) -> "Combining":
    """What the server does under the run's strategy.

    Raises:
        StudyError: parts of the federation that do not go together; Flower is not installed.
    """
    from tunescope.federated.chosen import chosen
    from tunescope.federated.rank_from import RankFrom

    federated = job.federated
    asked = per_round(federated, len(job.clients)) or len(job.clients)
    scales = {path: _scale_of(layer) for path, layer in job.shared.layers.items()}
    if federated.rank_from:
        if federated.privacy is not None:
            raise StudyError("federated: privacy and rank_from do not go together; give one of them")
        assert isinstance(federated.strategy, Strategy)
        return RankFrom(federated.strategy, federated.rank_from, scales, spec.seed)
    own = {path: int(layer.r["default"]) for path, layer in job.shared.layers.items()}

    def fit(client: str, target: str) -> tuple[int, float]:
        rank = federated.ranks.get(client, own[target])
        return rank, scales[target](rank)

    return chosen(federated.strategy, asked, fit if federated.ranks else None, spec.seed, federated.privacy)


def check_federation(
    spec: RunSpec, installed: Installed, head: nn.Module, held: Mapping[str, Holding], examples: Mapping
) -> None:
    """Whether strategy, ranks and method go together; nothing is computed.

    Raises:
        TunescopeError: they do not.
    """
    job = TuningJob(spec, installed.encoder, installed, head, held, examples)
    combining_of(spec, job).check(job.initial())


def _scale_of(layer: Any) -> Callable[[int], float]:
    """LoRA's scale by rank, as the layer was made: α / r, or α / √r."""
    alpha, rooted = layer.lora_alpha["default"], layer.use_rslora["default"]
    return lambda other: alpha / (math.sqrt(other) if rooted else other)


def per_round(federated: Federated, clients: int) -> int | None:
    """How many clients take part in a round; None for all of them."""
    return None if federated.sample == 1 else max(1, round(federated.sample * clients))
