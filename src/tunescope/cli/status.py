"""`tunescope status`."""

import argparse
import json
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="where runs and reports go (%(default)s)"
    )
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
        "failed tries": {id: failure["cause"] for id, failure in store.failures().items()},
    }
    if args.json:
        print(json.dumps(standing, indent=1))
        return 0
    print(f"{standing['done']} runs done, {standing['failed']} published as failed")
    print(f"{standing['base measurements']} measurements of base models, shared by the runs")
    for id, cause in standing["failed tries"].items():
        print(f"{id[:12]}  not there; the last try failed: {cause}")
    return 0
