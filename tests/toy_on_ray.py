"""The toy federation on Ray, in a process of its own: Ray keeps what it read when it was imported."""

import sys
from pathlib import Path

from toy_federation import NAMES, Toy

from tunescope.federated import ray, rounds
from tunescope.federated.chosen import chosen
from tunescope.federated.flower_rules import FedAdam
from tunescope.federated.keep import KeptFile

PLAN = rounds.Plan(3, NAMES, per_round=3, evaluate_every=1, timeout=1.5, seed=7)
TROUBLE = {"ada": {1: "raise"}, "bob": {2: "nan"}, "dan": {3: "hang"}}


def make_job(context) -> Toy:
    return Toy(NAMES, TROUBLE)


def serve(grid, keep=None):
    return rounds.run(grid, PLAN, chosen(FedAdam(eta=0.1), 3), Toy().initial, keep)


if __name__ == "__main__":
    keep = KeptFile(Path(sys.argv[1]))
    ray.run(make_job, len(NAMES), lambda grid: serve(grid, keep), cpus=0.5)
