"""Several processes share each run: the first one plans, measures and publishes; all of them train.

`torchrun --nproc-per-node 4 -m tunescope run STUDY.yaml --executor serial`; see docs/cluster.md.
"""

import os

from tunescope.results.store import Store
from tunescope.study.run import RunSpec


def launched() -> bool:
    """Whether `torchrun` or `accelerate launch` started this process."""
    return "LOCAL_RANK" in os.environ


def follows() -> bool:
    """Whether this process only helps with the steps of what the first one of its launch carries out."""
    return launched() and os.environ.get("RANK", "0") != "0"


def announce(run: tuple[RunSpec, str] | None) -> tuple[RunSpec, str] | None:
    """Tell the other processes which run is next, with its identity; None = there is none.

    The others call it with None, and hear what the first one said.
    """
    from tunescope.training.ranks import Ranks

    return Ranks().agree(lambda: run)


def follow(store: Store) -> None:
    """Help with every run that the first process announces.

    Raises:
        Stopped: somebody asked to stop; the first process has checkpointed the run.
    """
    from tunescope.engine.stopping import graceful
    from tunescope.engine.work import tune
    from tunescope.errors import Diverged
    from tunescope.training.checkpoint import Checkpoint

    with graceful() as stopping:
        while (run := announce(None)) is not None:
            spec, run_id = run
            try:
                tune(spec, store=store, checkpoint=Checkpoint(store.unfinished(run_id), stopping=stopping))
            except Diverged:  # the first process has seen it too, and publishes that
                continue
