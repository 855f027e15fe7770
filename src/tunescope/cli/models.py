"""`tunescope models`."""

import argparse
import json


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def call(args: argparse.Namespace) -> int:
    """Print the bundled models and the families whose checkpoints load, by what they read."""
    from tunescope.models.families import FAMILIES, TEXT_ALONE
    from tunescope.models.source import BUNDLED

    if args.json:
        said = {"bundled": sorted(BUNDLED), "families": sorted(FAMILIES), "text_alone": sorted(TEXT_ALONE)}
        print(json.dumps(said, indent=1))
        return 0
    print(f"ships with tunescope: {', '.join(sorted(BUNDLED))}")
    print("a folder or hub id whose model_type is one of")
    print(f"  images, some with texts: {', '.join(sorted(FAMILIES.keys() - TEXT_ALONE))}")
    print(f"  texts: {', '.join(sorted(TEXT_ALONE))}")
    return 0
