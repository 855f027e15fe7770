"""`tunescope models`."""

import argparse
import json


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def call(args: argparse.Namespace) -> int:
    """Print the bundled models and the families whose checkpoints load."""
    from tunescope.models.families import FAMILIES
    from tunescope.models.source import BUNDLED

    if args.json:
        print(json.dumps({"bundled": sorted(BUNDLED), "families": sorted(FAMILIES)}, indent=1))
        return 0
    print(f"ships with tunescope: {', '.join(sorted(BUNDLED))}")
    print(f"a folder or hub id whose model_type is one of: {', '.join(sorted(FAMILIES))}")
    return 0
