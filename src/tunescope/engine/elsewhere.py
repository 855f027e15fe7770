"""A federated run's job in another process, made of its spec alone."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tunescope.federated.client import TuningJob
from tunescope.study.run import RunSpec, Transfer


@dataclass(frozen=True)
class Elsewhere:
    """Makes a run's job in whatever process a client is, and keeps it there for the next message.

    Args:
        spec: the run.
        decoded: the folder of decoded images.
        threads: to compute on; another number rounds differently.
        folder: where clients keep their optimisers' moments; None keeps them in that process.
        client: the one whose data this process needs; None for all of them.
        places: where data lie on this machine, and the run's reference to them before it.
    """

    spec: RunSpec
    decoded: Path | None
    threads: int
    folder: Path | None = None
    client: str | None = None
    places: tuple[tuple[str, str], ...] = ()

    def __call__(self, context: object = None) -> TuningJob:
        """The job, for any of its clients; `context` is Flower's, and not read."""
        said = json.dumps(self.spec.model_dump(mode="json"), sort_keys=True)
        return _made(said, self.decoded, self.threads, self.folder, self.client, self.places)


@lru_cache(1)
def _made(
    said: str,
    decoded: Path | None,
    threads: int,
    folder: Path | None,
    client: str | None,
    places: tuple[tuple[str, str], ...],
) -> TuningJob:
    import torch

    from tunescope.data.task import task_examples
    from tunescope.engine.joining import lay_out
    from tunescope.engine.tower import tower_of
    from tunescope.engine.work import head_for, install
    from tunescope.models.load import load
    from tunescope.training.ranks import Ranks

    torch.set_num_threads(threads)
    device = Ranks().device
    spec = RunSpec.parse(json.loads(said), "federated")
    encoder = load(spec.model, spec.image_size, spec.max_tokens)
    alone = spec.model_copy(update={"transfer": Transfer()})  # which the server alone measures
    tower = tower_of(alone, encoder)
    encoder.model.to(device)
    examples = task_examples(alone, encoder.preprocess, decoded)
    head = head_for(spec, encoder, examples["train"])
    installed = install(spec, encoder, tower)
    only = None if client is None else (client,)
    held = lay_out(spec, encoder, examples, decoded, only, dict(places))
    encoder.model.to(device)
    head.to(device)
    return TuningJob(spec, encoder, installed, head, held, examples, folder)
