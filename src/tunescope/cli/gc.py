"""`tunescope gc`."""

import argparse

from tunescope.cli.arguments import results


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    results(parser)


def call(args: argparse.Namespace) -> int:
    """Remove what nobody needs, compact what is published; print what was freed."""
    from tunescope.results.store import Store

    freed = Store(args.results / "store").gc()
    found = {
        "half-written runs": freed.folders,
        "runs' old checkpoints": freed.checkpoints,
        "discarded runs": freed.discarded,
        "files of decoded images": freed.decoded,
        "leftovers of killed processes": freed.leftovers,
        "stale claims": freed.claims,
    }
    said = ", ".join(f"{number} {what}" for what, number in found.items() if number) or "nothing"
    print(f"removed {said} ({freed.bytes / 1e6:.1f} MB); {freed.compacted} runs are compacted")
    return 0
