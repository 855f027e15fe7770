"""`tunescope gc`."""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="where runs and reports go (%(default)s)"
    )


def call(args: argparse.Namespace) -> int:
    """Remove orphans of killed processes; print what was freed."""
    from tunescope.results.store import Store

    freed = Store(args.results / "store").gc()
    size = freed.bytes / 1e6
    print(f"removed {freed.folders} unfinished runs ({size:.1f} MB) and {freed.claims} stale claims")
    return 0
