"""Where the clients of a federated run work, and how long they may."""

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tunescope.engine.elsewhere import Elsewhere
from tunescope.federated.client import TuningJob
from tunescope.federated.job import Config
from tunescope.study.engine import Engine
from tunescope.study.run import RunSpec

if TYPE_CHECKING:
    from tunescope.federated.flower import Grid
    from tunescope.federated.rounds import Outcome

Serve = Callable[["Grid"], "Outcome"]


def here(job: TuningJob, serve: Serve) -> "Outcome":
    """All clients in this process, one after the other."""
    from tunescope.federated import local

    return local.run(job, serve)


@dataclass(frozen=True)
class Runtime:
    """Where the clients of a run work, and how long they may.

    Args:
        run: given the job and the server's part, carries the server's part out with a way to the clients.
        timeout: seconds that a client has for its work in a round; no limit, if left out.
        at_once: how many clients work at a time; all that are asked, if left out.
        threads: that each computes on; those of this process, if left out.
        apart: whether clients are on machines of their own: their data are not read here then.
        patience: seconds that they have for connecting.
        tells: what clients are told with every message of a run.
    """

    run: Callable[[TuningJob, Serve], "Outcome"] = here
    timeout: float | None = None
    at_once: int | None = None
    threads: int | None = None
    apart: bool = False
    patience: float = 120.0
    tells: Callable[[RunSpec], Config] = lambda spec: {}


def runtime_of(engine: Engine, asked: int, decoded: Path | None) -> Runtime:
    """What a study says about where clients work.

    In Ray's processes as many clients work at once as there are cores, which they share out among them.

    Args:
        engine: of the study.
        asked: how many clients take part in a round.
        decoded: the folder of decoded images.

    >>> runtime_of(Engine(), asked=4, decoded=None).run is here
    True
    """
    if engine.federation == "local":
        return Runtime()
    cores = torch.get_num_threads()
    at_once = min(cores, asked)
    threads = cores // at_once
    on_ray = partial(_on_ray, decoded=decoded, at_once=at_once, threads=threads)
    return Runtime(on_ray, at_once=at_once, threads=threads)


def _on_ray(job: TuningJob, serve: Serve, decoded: Path | None, at_once: int, threads: int) -> "Outcome":
    """Clients in processes of Ray, each of which takes any of them: their moments lie in a folder."""
    from tunescope.federated import ray

    gpus = 1 / at_once if torch.cuda.is_available() else 0.0
    with nullcontext(job.folder) if job.folder else tempfile.TemporaryDirectory() as folder:
        elsewhere = Elsewhere(job.spec, decoded, threads, Path(folder).absolute())
        return ray.run(elsewhere, len(job.clients), serve, at_once, gpus)
