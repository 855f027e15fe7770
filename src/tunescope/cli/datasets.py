"""`tunescope datasets`."""

import argparse
import json


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def call(args: argparse.Namespace) -> int:
    """Print the forms of data references and what each holds."""
    from tunescope.data.load import SOURCES

    if args.json:
        print(
            json.dumps(
                {name: {"form": s.form, "summary": s.summary} for name, s in SOURCES.items()}, indent=1
            )
        )
        return 0
    for source in SOURCES.values():
        print(f"{source.form:34} {source.summary}")
    return 0
