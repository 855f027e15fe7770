"""`tunescope status`."""

import argparse
import json

from tunescope.cli.arguments import results


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    results(parser)
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def call(args: argparse.Namespace) -> int:
    """Print what the store holds."""
    from tunescope.results.store import Store

    store = Store(args.results / "store")
    outcomes = [store.read(id).outcome for id in store.ids()]
    runs = [outcome["status"] for outcome in outcomes if outcome.get("kind") != "base"]
    standing = {
        "done": runs.count("done"),
        "failed": runs.count("failed"),
        "base measurements": len(outcomes) - len(runs),
        "checkpoints": len(store.half_way()),
        "failed tries": {
            id: {"tries": failure["tries"], "cause": failure["cause"]}
            for id, failure in store.failures().items()
            if not store.has(id)
        },
    }
    if args.json:
        print(json.dumps(standing, indent=1))
        return 0
    print(f"{standing['done']} runs done, {standing['failed']} published as failed")
    print(f"{standing['base measurements']} measurements of base models, shared by the runs")
    if standing["checkpoints"]:
        print(f"runs half-way, with a checkpoint to go on from: {standing['checkpoints']}")
    for id, failure in standing["failed tries"].items():
        said = f"failed {failure['tries']} times, the last time" if failure["tries"] > 1 else "failed once"
        print(f"{id[:12]}  not there; {said}: {failure['cause']}")
    return 0
