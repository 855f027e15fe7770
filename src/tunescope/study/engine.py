"""How a study is carried out: nothing here decides a result, so nothing here is in a run's identity."""

from typing import Annotated, Literal

from pydantic import Field

from tunescope.study.spec import Spec


class Engine(Spec):
    """What a run may take of the machine, and what happens when one fails.

    Args:
        timeout: seconds after which a run counts as hanging and is ended; None = never.
        retries: how often a run that failed is tried again before it is quarantined.
        cpus: cores of one run, whoever carries it out; by default the machine's, divided by the workers, and
            in the serial executor as many as torch has.
        gpus: graphics processors of one run, where a cluster deals them out; may be a share of one.
        checkpoint: seconds between checkpoints within a run.
        federation: where the clients of federated runs work: in the run's own process, one after the other
            (`local`), or in processes of Ray, as many at once as the run has cores (`ray`). The same number
            of cores for each client comes to the same arrays.
        client_timeout: seconds that a client has for its work in a round before it is left out of the round;
            None = as long as it takes.
        trackers: where training is logged beside `log.jsonl`: tensorboard, wandb, mlflow, trackio, …

    >>> Engine(timeout=3600, gpus=0.5).retries
    1
    """

    timeout: Annotated[float, Field(gt=0)] | None = None
    retries: Annotated[int, Field(ge=0)] = 1
    cpus: Annotated[int, Field(ge=1)] | None = None
    gpus: Annotated[float, Field(ge=0)] = 0
    checkpoint: Annotated[float, Field(ge=0)] = 60.0
    federation: Literal["local", "ray"] = "local"
    client_timeout: Annotated[float, Field(gt=0)] | None = None
    trackers: tuple[str, ...] = ()
