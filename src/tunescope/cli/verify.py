"""`tunescope verify`."""

import argparse

from tunescope.cli.arguments import results


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    results(parser)
    parser.add_argument(
        "--discard", action="store_true", help="move broken runs away, so that `run` makes them again"
    )


def call(args: argparse.Namespace) -> int:
    """Print every problem; exit with 1 if there is one that was not discarded."""
    from tunescope.results.store import Store

    store = Store(args.results / "store")
    problems = store.verify()
    for problem in problems:
        print(problem)
    broken = sorted({problem.key for problem in problems})
    if args.discard:
        for key in broken:
            print(f"{key}: moved to {store.discard(key)}")
    print(f"{len(store.ids())} published, {len(broken)} broken")
    return 1 if broken and not args.discard else 0
