"""The toy federation on Ray, then a run of a study, in a process of its own: Ray keeps what it read once."""

import sys
from pathlib import Path

from toy_federation import NAMES, Toy

from tunescope.federated import ray, rounds
from tunescope.federated.chosen import chosen
from tunescope.federated.flower_rules import FedAdam
from tunescope.federated.keep import KeptFile

PLAN = rounds.Plan(4, NAMES, per_round=3, timeout=5, seed=7)
TROUBLE = {"ada": {1: "die"}, "bob": {2: "nan"}, "dan": {3: "hang"}, "cyd": {4: "raise"}}


def make_job(context) -> Toy:
    return Toy(NAMES, TROUBLE)


def serve(grid, keep=None):
    return rounds.run(grid, PLAN, chosen(FedAdam(eta=0.1), 3), Toy().initial, keep)


def carried_out(study, root):
    """The first run of a study, into a store: its identity."""
    from tunescope.engine.execute import execute
    from tunescope.engine.options import Options
    from tunescope.engine.plan import plan
    from tunescope.results.store import Store

    store = Store(root)
    planned = plan(study, store)
    execute(study, planned, store, lambda event: None, Options(executor="serial"))
    return planned[0].id


if __name__ == "__main__":
    from tunescope.study.study import load_study

    toy, study, root = map(Path, sys.argv[1:])
    keep = KeptFile(toy)
    ray.run(make_job, len(NAMES), lambda grid: serve(grid, keep), at_once=2)
    carried_out(load_study(study), root)
