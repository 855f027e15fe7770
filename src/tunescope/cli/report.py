"""`tunescope report STUDY.yaml`."""

import argparse
from pathlib import Path

from tunescope.cli.arguments import results


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("study", type=Path, help="a study file")
    results(parser)


def call(args: argparse.Namespace) -> int:
    """Write table, answers and page from the store; print where the page is."""
    from tunescope import api

    print(api.report(args.study, args.results).report)
    return 0
